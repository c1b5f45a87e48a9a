//go:build linux

package rules

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kaudit/pkg/rules"
	"kaudit/test/e2e"
)

// What the ruleset promises of every rule.

// Rules that are about a request whatever its answer is, and about events rather than requests.
var whateverTheAnswer = []string{
	"All K8s Audit Events", "Attack Tool User Agent", "Audit Event Lost Its Body", "Break-Glass Account Used", "Component Identity Mimicked",
	"Decoy Touched", "Default Service Account at Work", "Deprecated API Used", "Full K8s Administrative Access", "Impersonation Used",
	"Invalidated Service Account Token Used", "Legacy or Stale Service Account Token Used", "Privileged Identity Impersonated",
	"Admission Policy Violated", "Admission Webhook Failed Open", "Probe From a Tor Exit or Hostile Address",
}

// Rules that are about a request whatever it asks for, a dry run too.
var whateverIsAsked = append([]string{"Anonymous Request Allowed", "Request From a Tor Exit or Hostile Address"}, whateverTheAnswer...)

// changed returns an event with some members replaced.
func changed(t *testing.T, line []byte, change func(map[string]any)) []byte {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	var event map[string]any
	if err := d.Decode(&event); err != nil {
		t.Fatal(err)
	}
	change(event)
	line, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// success reports whether an event tells of a request that was carried out.
func success(line []byte) bool {
	var event struct {
		ResponseStatus struct{ Code int }
	}
	return json.Unmarshal(line, &event) == nil && (event.ResponseStatus.Code/100 == 2 || event.ResponseStatus.Code == 101)
}

// fires calls visit for each event on which a rule has to fire.
func fires(t *testing.T, visit func(g *goEngine, r *rules.Rule, s sample)) {
	t.Helper()
	g, set := newGoEngine(t, true)
	for _, r := range set.Rules {
		for _, s := range samples(t, r.Name) {
			if s.fires {
				visit(g, r, s)
			}
		}
	}
}

// An attempt that was refused is never the alert of one that worked, and what tells of it is not more serious. Trails
// are another thing: what was refused is told of as unusual, where the same done is daily work.
func TestRefusedAttemptsAreTheirOwnAlerts(t *testing.T) {
	n := 0
	fires(t, func(g *goEngine, r *rules.Rule, s sample) {
		if !success(s.line) || slices.Contains(whateverTheAnswer, r.Name) {
			return
		}
		n++
		refused := changed(t, s.line, func(e map[string]any) {
			e["responseStatus"] = map[string]any{"metadata": map[string]any{}, "status": "Failure", "reason": "Forbidden", "code": 403, "message": "forbidden"}
			e["responseObject"] = e["responseStatus"]
			delete(e, "requestObject") // what is refused for lack of rights leaves none
		})
		for _, f := range g.fired(t, refused, rules.All) {
			if f.Name == r.Name {
				t.Errorf("%q fires on %s, refused, too", r.Name, s.where)
			}
			if f.Priority < r.Priority && r.Priority <= rules.Notice && !slices.Contains(whateverTheAnswer, f.Name) {
				t.Errorf("%q (%v) fires on %s, refused, and %q is %v when it works", f.Name, f.Priority, s.where, r.Name, r.Priority)
			}
		}
	})
	t.Logf("%d events", n)
}

// Nothing happens in a dry run.
func TestDryRunsAreNotTaken(t *testing.T) {
	n := 0
	fires(t, func(g *goEngine, r *rules.Rule, s sample) {
		if !success(s.line) || slices.Contains(whateverIsAsked, r.Name) || !regexp.MustCompile(`"verb":"(create|update|patch)"`).Match(s.line) ||
			regexp.MustCompile(`"subresource":"(exec|attach|portforward|proxy|token|binding|eviction)"`).Match(s.line) || bytes.Contains(s.line, []byte("selfsubject")) {
			return
		}
		n++
		dry := changed(t, s.line, func(e map[string]any) {
			uri, _ := e["requestURI"].(string)
			if strings.Contains(uri, "?") {
				e["requestURI"] = uri + "&dryRun=All"
			} else {
				e["requestURI"] = uri + "?dryRun=All"
			}
		})
		for _, f := range g.fired(t, dry, rules.All) {
			if f.Name == r.Name {
				t.Errorf("%q fires on %s as a dry run, too", r.Name, s.where)
			}
		}
	})
	t.Logf("%d events", n)
}

// A request counts once, and not when it has only arrived.
func TestRequestsThatOnlyArrivedAreNotTaken(t *testing.T) {
	fires(t, func(g *goEngine, r *rules.Rule, s sample) {
		if bytes.Contains(s.line, []byte(`"kaudit":{`)) || notice(r) {
			return // what is left of an event may not know its stage
		}
		arrived := changed(t, s.line, func(e map[string]any) {
			e["stage"] = "RequestReceived"
			delete(e, "responseStatus")
			delete(e, "responseObject")
		})
		for _, f := range g.fired(t, arrived, rules.All) {
			t.Errorf("%q fires on %s when it has only arrived", f.Name, s.where)
		}
	})
}

// notice reports whether a rule is about notices of the plugin, and not about requests.
func notice(r *rules.Rule) bool { return filepath.Base(r.Pos.File) == "delivery.yaml" }

// An alert says who, in whose name, from where, with what, what was done to what, and with which outcome; and before
// that, what made it fire.
func TestOutputsSayWhoWhatAndWhere(t *testing.T) {
	_, set := newGoEngine(t, true)
	for _, r := range set.Rules {
		what, who, ok := strings.Cut(r.Output, " | ")
		if !ok {
			t.Errorf("%q: the output has no | between what it found and who did it", r.Name)
		}
		if notice(r) {
			for _, field := range []string{"notice=%ka.notice ", "source=%ka.notice.source ", "cluster=%ka.notice.cluster"} {
				if !strings.Contains(who, field) {
					t.Errorf("%q: the output lacks %s", r.Name, field)
				}
			}
			continue
		}
		for _, field := range []string{
			"user=%ka.user.name", "as=%ka.impuser.name", "from=%ka.sourceips", "agent=%ka.useragent", "verb=%ka.verb", "target=%ka.target.path",
			"name=%ka.obj.name", "ns=%ka.target.namespace", "decision=%ka.auth.decision", "code=%ka.code", "cluster=%ka.cluster.name", "auditid=%ka.auditid",
		} {
			if !strings.Contains(who, field+" ") && !strings.HasSuffix(who, field) {
				t.Errorf("%q: the output lacks %s", r.Name, field)
			}
		}
		if !strings.Contains(what, "%ka.") {
			t.Errorf("%q: the output does not say what made it fire", r.Name)
		}
	}
}

var (
	technique = regexp.MustCompile(`^T\d{4}(\.\d{3})?$`)
	detection = regexp.MustCompile(`^[A-Z]+-\d\d$`)
)

// Tags say how ripe a rule is, of which product, tactic, technique and detection.
func TestTagsAreComplete(t *testing.T) {
	_, set := newGoEngine(t, true)
	for _, r := range set.Rules {
		count := map[string]int{}
		for _, tag := range r.Tags {
			switch {
			case tag == "maturity_stable", tag == "maturity_incubating", tag == "maturity_sandbox":
				count["maturity"]++
			case tag == "k8s":
				count["product"]++
			case strings.HasPrefix(tag, "mitre_"):
				count["tactic"]++
			case technique.MatchString(tag):
				count["technique"]++
			case detection.MatchString(tag):
				count["detection"]++
			default:
				t.Errorf("%q: nobody knows the tag %s", r.Name, tag)
			}
		}
		if count["maturity"] != 1 || count["product"] != 1 {
			t.Errorf("%q: want one tag for maturity and the tag k8s: %v", r.Name, r.Tags)
		}
		if r.Name == "All K8s Audit Events" || r.Name == "Deprecated API Used" {
			continue // are about no attack
		}
		if count["tactic"] == 0 || count["technique"] == 0 {
			t.Errorf("%q: want tags for tactic and technique: %v", r.Name, r.Tags)
		}
	}
}

var command = regexp.MustCompile(`\b(kubectl|kaudit|aws|gcloud|az|openssl|crictl|falcoctl|helm|jq) `)

// A description says what happened and why it matters, what to look at, and what to do, with commands.
func TestDescriptionsSayWhatToDo(t *testing.T) {
	_, set := newGoEngine(t, true)
	for _, r := range set.Rules {
		paragraphs := strings.FieldsFunc(r.Desc, func(c rune) bool { return c == '\n' })
		if len(paragraphs) < 3 {
			t.Errorf("%q: want three paragraphs: what happened and why it matters, Investigate, Respond", r.Name)
			continue
		}
		n := len(paragraphs)
		if !strings.HasPrefix(paragraphs[n-2], "Investigate: ") || !strings.HasPrefix(paragraphs[n-1], "Respond: ") {
			t.Errorf("%q: want the last paragraphs to begin with Investigate: and Respond:", r.Name)
		}
		if strings.Count(paragraphs[0], ". ") < 1 {
			t.Errorf("%q: want a sentence on what happened and one on why it matters", r.Name)
		}
		if !command.MatchString(paragraphs[n-2] + paragraphs[n-1]) {
			t.Errorf("%q: there is no command to type", r.Name)
		}
	}
}

// What a site says about itself takes effect from a file of its own. Words in capitals stand for what the first event on
// which the rule fires has there.
func TestASiteSaysWhatItIs(t *testing.T) {
	_, shipped := newGoEngine(t, true)
	for _, c := range []struct {
		list, items, rule string
		of                string // the rule whose event it is, if another one's; or how the event's name ends
		fires             bool   // with the list
	}{
		{"trusted_users", "USER", "Create Privileged Pod", "", false},
		{"trusted_registries", "docker.io", "Create Disallowed Pod", "", false},
		{"known_images", "IMAGE", "Create Disallowed Pod", "", false},
		{"admin_users", "USER", "Own Permissions Listed", "", false},
		{"admin_groups", "GROUP", "Own Permissions Listed", "", false},
		{"ci_identities", "USER", "Network Policy Removed", "", false},
		{"allowed_networks", "0.0.0.0/0", "Change From Outside Allowed Networks", "", false},
		{"protected_namespaces", "NAME", "Protected Namespace Deleted", "K8s Namespace Deleted", true},
		{"protected_namespaces", "NAME", "K8s Namespace Deleted", "", false},
		{"break_glass_users", "USER", "Break-Glass Account Used", "Exec into Pod", true},
		{"secret_readers", "USER", "Secrets Listed", "", false},
		{"impersonation_proxies", "USER", "Impersonation Used", "", false},
		{"monitoring_users", "USER", "Kubelet Reached Through Node Proxy", "", false},
		{"endpoint_writers", "USER", "Endpoints Written by Hand", "", false},
		{"webhook_managers", "USER", "API Service Changed", "", false},
		{"hostile_networks", "127.0.0.0/8", "Request From a Tor Exit or Hostile Address", "Exec into Pod", true},
		{"storage_namespaces", "shop", "Storage or Backups Destroyed", "volume-by-a-stolen-token", false},
	} {
		t.Run(c.list+" "+c.rule, func(t *testing.T) {
			of := c.rule
			if _, ok := shipped.Rule(c.of); ok {
				of = c.of
			}
			var line []byte
			for _, s := range samples(t, of) {
				if s.fires && (c.of == of || strings.HasSuffix(id(s.line), c.of)) {
					line = s.line
					break
				}
			}
			var e struct {
				User struct {
					Username string
					Groups   []string
				}
				ObjectRef     struct{ Name string }
				RequestObject struct {
					Spec struct{ Containers []struct{ Image string } }
				}
			}
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatal(err)
			}
			items := strings.NewReplacer("USER", e.User.Username, "NAME", e.ObjectRef.Name).Replace(c.items)
			if items == "GROUP" {
				items = e.User.Groups[0]
			}
			if items == "IMAGE" {
				items, _, _ = strings.Cut(e.RequestObject.Spec.Containers[0].Image, ":")
			}
			if holds(t, shipped, line, c.rule) == c.fires {
				t.Errorf("without the list: fires is %t on %s", c.fires, id(line))
			}
			own := filepath.Join(t.TempDir(), "own.yaml")
			text := "- list: " + c.list + "\n  items: [\"" + items + "\"]\n  override:\n    items: append\n"
			if err := os.WriteFile(own, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			set, err := rules.Load(rules.Options{}, append(e2e.RuleFiles(t), own)...)
			if err != nil {
				t.Fatal(err)
			}
			if holds(t, set, line, c.rule) != c.fires {
				t.Errorf("with %q in it: fires is %t on %s", items, !c.fires, id(line))
			}
		})
	}
}

// That an image is known says nothing about what it is told to do.
func TestAKnownImageExemptsNoCommand(t *testing.T) {
	own := filepath.Join(t.TempDir(), "own.yaml")
	const text = "- list: known_images\n  items: [registry.example.com/tools]\n  override:\n    items: append\n"
	if err := os.WriteFile(own, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := rules.Load(rules.Options{}, append(e2e.RuleFiles(t), own)...)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, rule := range []string{"Create Crypto Miner Pod", "Create Offensive Tool Pod", "Reverse Shell or Downloader in Pod"} {
		for _, s := range samples(t, rule) {
			if s.fires && bytes.Contains(s.line, []byte(`"registry.example.com/tools:1"`)) && bytes.Contains(s.line, []byte(`"command":[`)) {
				n++
				if !holds(t, set, s.line, rule) {
					t.Errorf("%q does not fire on %s when its image is known", rule, s.where)
				}
			}
		}
	}
	if n < 5 {
		t.Errorf("%d events only", n)
	}
}

// holds evaluates one rule.
func holds(t *testing.T, set *rules.Ruleset, line []byte, rule string) bool {
	t.Helper()
	for _, r := range set.Rules {
		r.Enabled = r.Name == rule
	}
	return len((&goEngine{engine: set.Engine()}).fired(t, line, rules.All)) == 1
}
