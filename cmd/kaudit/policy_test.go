package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestPolicyOutput(t *testing.T) {
	const own = "-r testdata/policy/rules.yaml "
	goldens(t, "policy", map[string]string{
		"help":                      "--help",
		"unknown":                   "chck",
		"check-help":                "check --help",
		"check-clean":               "check --policy testdata/policy/all.yaml " + own,
		"check-findings":            "check --policy testdata/policy/low.yaml " + own,
		"check-verbose":             "check --policy testdata/policy/low.yaml -v " + own,
		"check-with-evidence":       "check --policy testdata/policy/low.yaml -r testdata/policy/rules.yaml --fixtures testdata/policy/testdata",
		"check-disabled-too":        "check --policy testdata/policy/low.yaml --disabled -v " + own,
		"check-as-json":             "check --policy testdata/policy/low.yaml --fixtures testdata/policy/testdata -o json " + own,
		"check-ignored-keys":        "check --policy testdata/policy/ignored.yaml " + own,
		"check-broken":              "check --policy testdata/policy/broken.yaml " + own,
		"check-not-yaml":            "check --policy testdata/policy/notyaml.yaml " + own,
		"check-rules-for-a-policy":  "check --policy testdata/policy/rules.yaml " + own,
		"check-nowhere":             "check --policy testdata/policy/nowhere.yaml " + own,
		"check-no-policy":           "check " + own,
		"check-an-argument":         "check testdata/policy/low.yaml " + own,
		"check-no-fixtures":         "check --policy testdata/policy/low.yaml --fixtures nowhere " + own,
		"check-no-rules":            "check --policy testdata/policy/low.yaml -r testdata/run/empty.yaml",
		"check-policy-for-rules":    "check --policy testdata/policy/low.yaml -r testdata/policy/low.yaml",
		"generate-help":             "generate --help",
		"generate":                  "generate " + own,
		"generate-estimate":         "generate --estimate testdata/policy/testdata/role-grants-everything/fires.jsonl --fixtures testdata/policy/testdata " + own,
		"generate-as-json":          "generate -o json --estimate testdata/policy/testdata/role-grants-everything/fires.jsonl " + own,
		"generate-estimate-nowhere": "generate --estimate testdata/nowhere.jsonl " + own,
		"generate-estimate-no-json": "generate --estimate testdata/extract-no-json.txt " + own,
	})
}

// What is generated is what the check takes, and both are quick for all rules that come with kaudit.
func TestGeneratedPolicyIsClean(t *testing.T) {
	var made, errOut bytes.Buffer
	started := time.Now()
	if code := run([]string{"policy", "generate"}, &made, &errOut); code != exitOK {
		t.Fatalf("exit %d: %s", code, errOut.String())
	}
	file := filepath.Join(t.TempDir(), "audit-policy.yaml")
	if err := os.WriteFile(file, made.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if code := run([]string{"policy", "check", "--policy", file}, &out, &errOut); code != exitOK {
		t.Errorf("exit %d: %s%s", code, out.String(), errOut.String())
	}
	t.Logf("both took %v", time.Since(started))
}
