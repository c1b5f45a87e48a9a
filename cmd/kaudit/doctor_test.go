package main

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestDoctor(t *testing.T) {
	config := []string{"-c", "testdata/doctor/falco.yaml", "--plugins-dir", "testdata/doctor", "--offline"}
	for name, args := range map[string][]string{
		"help":          {"--help"},
		"no-config":     {"-c", "testdata/nowhere.yaml", "--offline"},
		"not-yaml":      {"-c", "testdata/check/notyaml.yaml", "--offline"},
		"argument":      {"falco.yaml"},
		"falco-unknown": {"--falco", "0.12"},
		"failures":      config,
		"as-json":       append(config, "-o", "json"),
		"kubeconfig":    append(config, "--kubeconfig", "testdata/doctor/webhook.yaml", "--set", "stdout_output.enabled=true"),
	} {
		t.Run(name, func(t *testing.T) { prints(t, "doctor-"+name, append([]string{"doctor"}, args...)...) })
	}
}

func TestDoctorAsJSON(t *testing.T) {
	var out, errOut bytes.Buffer
	if code := run([]string{"doctor", "-c", "testdata/doctor/falco.yaml", "--offline", "-o", "json"}, &out, &errOut); code != exitFailed {
		t.Fatalf("exit %d: %s", code, errOut.String())
	}
	var report struct {
		Findings []struct{ Status, Check, Text, At, Do string }
	}
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatal(err)
	}
	statuses := map[string]int{}
	for _, f := range report.Findings {
		if f.Check == "" || f.Text == "" {
			t.Errorf("%+v", f)
		}
		statuses[f.Status]++
	}
	if statuses["ok"] == 0 || statuses["fail"] == 0 || statuses["warn"] == 0 || len(statuses) != 3 {
		t.Errorf("%v", statuses)
	}
}
