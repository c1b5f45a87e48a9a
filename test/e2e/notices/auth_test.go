//go:build linux

package notices

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kaudit/test/e2e"
	"kaudit/test/e2e/engine"
)

// TestAWrongTokenFiresARule has somebody post without the token that the plugin asks for: nothing of it is evaluated, and
// the ruleset tells of it.
func TestAWrongTokenFiresARule(t *testing.T) {
	library := e2e.Library(t)
	tokens := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tokens, []byte("a-token-of-some-length-0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	shipped, err := engine.LoadRules("k8s_audit", e2e.RuleFiles(t)...)
	if err != nil {
		t.Fatal(err)
	}
	engine.Each(t, func(t *testing.T, e *engine.Engine) {
		hook := e2e.FreeAddress(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var process *engine.Process
		told := make(chan engine.Match, 100)
		process, err := e.Start(ctx, engine.Run{
			Plugins: []engine.Plugin{{Path: library, Init: fmt.Sprintf(`{"webhookTokens":%q,"sources":[{"name":"prod","cluster":"eu","open":"http://%s/k8s-audit"}]}`, tokens, hook)}},
			Rules:   shipped,
			OnMatch: func(m engine.Match) { told <- m },
		})
		if err != nil {
			t.Fatal(err)
		}
		for refused := false; ctx.Err() == nil && !refused; time.Sleep(20 * time.Millisecond) {
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+hook+"/k8s-audit", strings.NewReader(event))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer a-wrong-one-of-some-length-0123456789")
			if answer, err := http.DefaultClient.Do(req); err == nil {
				answer.Body.Close()
				if refused = answer.StatusCode == http.StatusUnauthorized; !refused {
					t.Fatalf("status %d", answer.StatusCode)
				}
			}
		}
		select {
		case m := <-told:
			if m.Rule != "Audit Sender Not Authenticated" || !strings.Contains(m.Output, "notice=auth_failures") || !strings.Contains(m.Output, "count=1 cluster=eu") {
				t.Errorf("%s: %s", m.Rule, m.Output)
			}
		case <-ctx.Done():
			t.Error("no rule fires")
		}
		process.Stop()
		if result, err := process.Wait(); err != nil || len(result.Matches) != 1 {
			t.Errorf("%v; matches %+v", err, result.Matches)
		}
	})
}
