package rules_test

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
	"kaudit/pkg/rules"
)

const exampleRules = `
- list: shells
  items: [sh, bash]

- macro: exec
  condition: ka.verb in (create, get) and ka.target.subresource = exec

- rule: Shell in a Pod
  desc: Somebody started a shell in a pod.
  condition: exec and ka.exec.program in (shells)
  output: shell in a pod | user=%ka.user.name pod=%ka.target.name command=%ka.exec.args as=%ka.impuser.name
  priority: NOTICE
  source: k8s_audit
`

const exampleEvent = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"1","stage":"ResponseStarted","verb":"create",
	"requestURI":"/api/v1/namespaces/shop/pods/web/exec?command=sh&command=-i","user":{"username":"jane"},
	"objectRef":{"resource":"pods","namespace":"shop","name":"web","subresource":"exec"}}`

func Example() {
	set, err := rules.Read(rules.Options{}, rules.File{Name: "shell.yaml", Content: []byte(exampleRules)})
	if err != nil {
		fmt.Println(err)
		return
	}
	var e audit.Event
	e.Load([]byte(exampleEvent))
	var event extract.Event
	event.Reset(&e)

	engine := set.Engine()
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	for _, m := range engine.Evaluate(rules.Event{Event: &event, Number: 1, Time: uint64(at.UnixNano())}, rules.First) {
		fmt.Println(m.Rule.Condition)
		fmt.Println(string(m.AppendText(nil, rules.Style{ISO8601: true})))
	}
	// Output:
	// (ka.verb in (create, get) and ka.target.subresource = exec) and ka.exec.program in (sh, bash)
	// 2026-01-02T03:04:05.000006000+0000: Notice shell in a pod | user=jane pod=web command=(sh,-i) as=<NA>
}

func ExampleRuleset_Explain() {
	set, err := rules.Read(rules.Options{}, rules.File{Name: "shell.yaml", Content: []byte(exampleRules)})
	if err != nil {
		fmt.Println(err)
		return
	}
	var e audit.Event
	e.Load([]byte(strings.Replace(exampleEvent, "command=sh", "command=ls", 1)))
	var event extract.Event
	event.Reset(&e)
	trace, err := set.Explain("Shell in a Pod", rules.Event{Event: &event, Number: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(trace)
	// Output:
	// ✗ all of
	//   ✓ macro exec
	//   ✗ ka.exec.program in (sh, bash)  ← ls
}

func ExampleLoadError() {
	_, err := rules.Read(rules.Options{}, rules.File{Name: "typo.yaml", Content: []byte(`
- rule: Typo
  desc: d
  condition: ka.verb = get and ka.usr.name = jane
  output: x
  priority: NOTICE
  source: k8s_audit
`)})
	var load *rules.LoadError
	if errors.As(err, &load) {
		for _, p := range load.Problems {
			fmt.Print(p.Render())
		}
	}
	// Output:
	// typo.yaml:4:32: rule Typo: there is no field ka.usr.name; did you mean ka.user.name?
	//     4 |   condition: ka.verb = get and ka.usr.name = jane
	//       |                                ^
}
