package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kaudit/internal/golden"
)

func TestCheckOutput(t *testing.T) {
	goldens(t, "check", map[string]string{
		"help":             "--help",
		"built-in":         "",
		"clean":            "testdata/check/clean.yaml",
		"findings":         "testdata/check/findings.yaml",
		"hints":            "--severity info testdata/check/findings.yaml",
		"errors-only":      "--severity error testdata/check/findings.yaml",
		"ignored":          "--ignore impossible-value,contradiction --ignore shadowed testdata/check/findings.yaml",
		"as-json":          "-o json testdata/check/findings.yaml",
		"by-flag":          "-r testdata/check/clean.yaml",
		"refused":          "testdata/check/refused.yaml",
		"older":            "--falco 0.36 testdata/check/clean.yaml",
		"not-yaml":         "testdata/check/notyaml.yaml testdata/check/clean.yaml",
		"nowhere":          "testdata/check/nowhere.yaml",
		"empty-folder":     "testdata/check/empty",
		"list":             "--list",
		"check-unknown":    "--ignore shadwed testdata/check/clean.yaml",
		"severity-unknown": "--severity bad testdata/check/clean.yaml",
	})
}

func TestConvertOutput(t *testing.T) {
	goldens(t, "convert", map[string]string{
		"help":       "--help",
		"printed":    "testdata/convert/rules.yaml",
		"diff":       "--diff testdata/convert/rules.yaml",
		"left":       "testdata/convert/left.yaml testdata/convert/rules.yaml",
		"as-json":    "-o json --diff testdata/convert/left.yaml testdata/convert/rules.yaml",
		"not-yaml":   "testdata/check/notyaml.yaml",
		"nowhere":    "testdata/convert/nowhere.yaml",
		"no-file":    "",
		"both-flags": "-w --diff testdata/convert/rules.yaml",
	})
}

// goldens runs a subcommand with arguments and compares what it prints, by name of the golden file.
func goldens(t *testing.T, command string, all map[string]string) {
	t.Helper()
	for name, args := range all {
		t.Run(name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			code := run(append([]string{command}, strings.Fields(args)...), &out, &errOut)
			got := fmt.Sprintf("$ kaudit %s\n%s%sexit %d\n", strings.TrimSpace(command+" "+args), out.String(), errOut.String(), code)
			golden.Compare(t, "testdata/"+command+"-"+name+".golden", got)
		})
	}
}

func TestConvertWritesInPlace(t *testing.T) {
	before, err := os.ReadFile("testdata/convert/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(file, before, 0o600); err != nil {
		t.Fatal(err)
	}
	var printed, out, errOut bytes.Buffer
	if code := run([]string{"convert", file}, &printed, &errOut); code != exitOK {
		t.Fatalf("exit %d: %s", code, errOut.String())
	}
	for range 2 { // the second time there is nothing to do
		if code := run([]string{"convert", "-w", file}, &out, &errOut); code != exitOK {
			t.Fatalf("exit %d: %s", code, errOut.String())
		}
		after, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(printed.String(), string(after)); diff != "" {
			t.Error(diff)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode has changed: %v", info.Mode())
	}
	if out.Len() > 0 {
		t.Errorf("printed %q", out.String())
	}
	var checked bytes.Buffer
	if code := run([]string{"check", "--severity", "error", file}, &checked, &checked); code != exitOK {
		t.Errorf("check: exit %d: %s", code, checked.String())
	}
}
