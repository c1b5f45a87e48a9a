package lint

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

var (
	target  = regexp.MustCompile(`(?m)^([a-z0-9-]+):.*## `)
	calling = regexp.MustCompile(`(?m)^\s*make (\S+)`)
)

// Workflows call targets of the Makefile, and such as there are.
func TestWorkflowsCallTheMakefile(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]bool{}
	for _, m := range target.FindAllSubmatch(text, -1) {
		targets[string(m[1])] = true
	}
	files, err := filepath.Glob(filepath.Join(root, ".github", "workflows", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("found no workflows: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var w struct {
			Jobs map[string]struct {
				Strategy struct{ Matrix struct{ Target []string } }
				Steps    []struct{ Run string }
			}
		}
		if err := yaml.Unmarshal(text, &w); err != nil {
			t.Errorf("%s: %v", filepath.Base(file), err)
			continue
		}
		called := 0
		for _, job := range w.Jobs {
			for _, step := range job.Steps {
				for _, m := range calling.FindAllStringSubmatch(step.Run, -1) {
					names := []string{m[1]}
					if strings.HasPrefix(m[1], "${{") {
						names = job.Strategy.Matrix.Target
					}
					for _, name := range names {
						called++
						if !targets[name] {
							t.Errorf("%s calls make %s, which is not there", filepath.Base(file), name)
						}
					}
				}
			}
		}
		if called == 0 {
			t.Errorf("%s calls no target of the Makefile", filepath.Base(file))
		}
	}
}
