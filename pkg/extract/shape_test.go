package extract_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"kaudit/internal/cputime"
	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
)

// oddities are what may stand anywhere in an event, since nobody promised otherwise.
var oddities = []any{
	nil, true, 0, -1, 1e300, "", "\x00\u2028", "/",
	[]any{},
	map[string]any{},
	[]any{nil, []any{nil}, map[string]any{"": nil}, 7, "x"},
	map[string]any{"name": map[string]any{}, "path": []any{}, "": 1, "$patch": "delete"},
	[]any{map[string]any{"$patch": "delete", "name": "x"}},
}

// variants calls visit with v, each part of it replaced by each oddity once.
func variants(v any, put func(any), visit func()) {
	for _, odd := range oddities {
		put(odd)
		visit()
	}
	put(v)
	switch v := v.(type) {
	case map[string]any:
		for key, member := range v {
			variants(member, func(x any) { v[key] = x }, visit)
		}
	case []any:
		for i, element := range v {
			variants(element, func(x any) { v[i] = x }, visit)
		}
	}
}

func TestFieldsTakeAnyShape(t *testing.T) {
	table := extract.Fields()
	all := questions(table, "/etc")
	var a audit.Event
	var e extract.Event
	var v extract.Value
	n := 0
	for id := range table {
		var event map[string]any
		if err := json.Unmarshal(withID(table[id].Example.Event), &event); err != nil {
			t.Fatal(err)
		}
		if len(table[id].Example.Event) > 1500 {
			continue
		}
		own := questions(table[id:id+1], "/etc")
		variants(event, func(x any) { event, _ = x.(map[string]any) }, func() {
			raw, err := json.Marshal(event)
			if err != nil || event == nil || !a.Load(raw) {
				return
			}
			e.Reset(&a)
			list := own
			if n++; n%50 == 0 {
				list = all
			}
			for i := range list {
				q := &list[i]
				_, texts := answer(q, &e, &v)
				if q.Field.From.Type == extract.Network {
					continue
				}
				if err := sound(texts, q.Field.From.List); err != nil {
					t.Errorf("%s: %v on %s", q.Field.Name, err, raw)
				}
			}
		})
	}
	t.Logf("%d events", n)
}

// TestNoFieldTakesLongOrMuch asks every field of events that are as bad as half a megabyte allows. The limits are hundreds of times what is needed, so that only a mistake in kind breaks them.
func TestNoFieldTakesLongOrMuch(t *testing.T) {
	if testing.Short() || raced {
		t.Skip("takes seconds, and is about time")
	}
	const size = 1 << 19
	fill := func(s string) string { return s + strings.Repeat(","+s, size/(len(s)+1)) }
	long := strings.Repeat("x", size/2)
	half := func(s string) string { return s + strings.Repeat(","+s, size/2/(len(s)+1)) }
	pod := func(spec string) string { return `{"requestObject":{"spec":{` + spec + `}}}` }
	role := func(rules string) string { return `{"requestObject":{"rules":[` + rules + `]}}` }
	patchOf := func(body string) string { return `{"requestObject":` + body + `}` }
	table := extract.Fields()
	list := slices.CompactFunc(questions(table, "/etc"), func(a, b extract.Question) bool { return a.Field == b.Field })
	for what, event := range map[string]string{
		"containers and one long user id":   pod(`"securityContext":{"runAsUser":"` + long + `"},"containers":[` + half(`{}`) + `]`),
		"containers and many pod settings":  pod(`"securityContext":{` + half(`"":0`) + `},"containers":[` + half(`{}`) + `]`),
		"containers and many members":       pod(half(`"":0`) + `,"containers":[` + half(`{}`) + `]`),
		"volumes and mounts":                pod(`"volumes":[` + half(`{"name":"a","hostPath":{"path":"/"}}`) + `],"containers":[{"volumeMounts":[` + half(`{"name":"b","readOnly":true}`) + `]}]`),
		"volumes and containers":            pod(`"volumes":[` + half(`{"name":"a","hostPath":{"path":"/"}}`) + `],"containers":[` + half(`{}`) + `]`),
		"volumes of many types":             pod(`"volumes":[` + fill(`{"a":1,"b":1}`) + `]`),
		"a long path":                       pod(`"volumes":[{"hostPath":{"path":"` + strings.Repeat("/..", size/3) + `"}}]`),
		"a long path that goes up and down": pod(`"volumes":[{"hostPath":{"path":"` + strings.Repeat("/a/..", size/5) + `"}}]`),
		"images":                            pod(`"containers":[` + fill(`{"image":"a:b@c"}`) + `]`),
		"an image of slashes":               pod(`"containers":[{"image":"` + strings.Repeat("/", size) + `"}]`),
		"commands":                          pod(`"containers":[{"command":[` + fill(`"a"`) + `]}]`),
		"environment":                       pod(`"containers":[{"env":[` + fill(`{"name":"password","value":"x"}`) + `]}]`),
		"keys of access, nearly":            `{"requestObject":{"data":{"a":"` + strings.Repeat("AKIA", size/4) + `"}}}`,
		"keys of access, in arguments":      pod(`"containers":[{"args":["` + strings.Repeat("ASIA", size/4) + `"]}]`),
		"passwords, nearly":                 `{"requestObject":{"data":{"` + strings.Repeat("passwor", size/7) + `":"x"}}}`,
		"lines of settings":                 `{"requestObject":{"data":{"a":"` + strings.Repeat(`a=b\n`, size/4) + `"}}}`,
		"settings":                          `{"requestObject":{"data":{` + fill(`"a":"b"`) + `}}}`,
		"binary data":                       `{"requestObject":{"binaryData":{"a":"` + strings.Repeat("QUtJ", size/4) + `"}}}`,
		"a certificate request":             `{"requestObject":{"spec":{"request":"` + strings.Repeat("LS0tLS1CRUdJTiBYLS0tLS0K", size/24) + `"}}}`,
		"rules":                             role(fill(`{"verbs":["x"]}`)),
		"verbs":                             role(`{"verbs":[` + fill(`"x"`) + `],"resources":["*"],"apiGroups":["*"]}`),
		"resources":                         role(`{"verbs":["*"],"resources":[` + fill(`"a/b"`) + `],"apiGroups":["*"]}`),
		"paths of stars":                    role(`{"verbs":["*"],"nonResourceURLs":["/` + strings.Repeat("*", size) + `"]}`),
		"subjects":                          `{"requestObject":{"subjects":[` + fill(`{"kind":"ServiceAccount","name":"a"}`) + `]}}`,
		"groups":                            `{"user":{"groups":[` + fill(`"a"`) + `]},"requestObject":{"subjects":[` + strings.Repeat(`{"kind":"Group","name":"b"},`, 500) + `1]}}`,
		"a patch of one long key":           patchOf(`{"` + long + `":[` + half("0") + `]}`),
		"a patch of many keys":              patchOf(`{"a":{` + fill(`"":0`) + `}}`),
		"a JSON patch of many operations":   patchOf(`[` + fill(`{"op":"add","path":"/spec/containers/-","value":{}}`) + `]`),
		"a JSON patch of many long paths":   patchOf(`[` + strings.Repeat(`{"op":"add","path":"/`+long[:size/2000]+`"},`, 1000) + `1]`),
		"a JSON patch that copies":          patchOf(`[{"op":"add","path":"/spec","value":{"containers":[{"image":"` + long + `"}]}}` + strings.Repeat(`,{"op":"copy","from":"/spec/containers/0","path":"/spec/containers/-"}`, 9_000) + `]`),
		"a query of many parameters":        `{"requestURI":"/a?` + strings.Repeat("a=b&", size/4) + `"}`,
		"a query of one name":               `{"requestURI":"/a?` + strings.Repeat("command=b&", size/10) + `"}`,
		"source addresses":                  `{"sourceIPs":[` + fill(`"::"`) + `]}`,
		"source addresses that are none":    `{"sourceIPs":["` + strings.Repeat(":", size) + `"]}`,
		"annotations":                       `{"annotations":{` + fill(`"mutation.webhook.admission.k8s.io/":"\"mutated\":true"`) + `}}`,
		"an annotation of webhooks":         `{"annotations":{"mutation.webhook.admission.k8s.io/":"` + strings.Repeat(`\"webhook\":`, size/12) + `"}}`,
		"labels":                            `{"requestObject":{"metadata":{"labels":{` + fill(`"a":"b"`) + `}}}}`,
		"objects in objects":                patchOf(strings.Repeat(`{"spec":`, 299) + "1" + strings.Repeat("}", 299)),
		"a member nobody knows":             `{"nobody":{` + fill(`"a":"b"`) + `}}`,
		"members nobody knows":              `{` + fill(`"nobody":1`) + `}`,
		"tolerations":                       pod(`"tolerations":[` + fill(`{"key":"a"}`) + `]`),
		"ports":                             pod(`"containers":[{"ports":[` + fill(`{"hostPort":1}`) + `]}],"ports":[` + `{"nodePort":1}` + `]`),
		"references to secrets":             pod(`"volumes":[{"projected":{"sources":[` + fill(`{"secret":{"name":"a"}}`) + `]}}]`),
		"owners":                            `{"requestObject":{"metadata":{"ownerReferences":[` + fill(`{"kind":"a"}`) + `]}}}`,
		"text that is not UTF-8":            `{"userAgent":"` + strings.Repeat("\xff", size) + `"}`,
		"a reason":                          `{"annotations":{"authorization.k8s.io/reason":"RBAC: allowed by ` + strings.Repeat(`Role \"`, size/7) + `"}}`,
		"proxies":                           `{"requestURI":"` + strings.Repeat("/prox", size/5) + `"}`,
		"hosts of an ingress":               pod(`"rules":[` + fill(`{"host":"a"}`) + `]`),
		"webhooks":                          `{"requestObject":{"webhooks":[` + fill(`{"clientConfig":{"url":"a"}}`) + `]}}`,
	} {
		for _, target := range []string{
			`"verb":"create","objectRef":{"resource":"pods"}`,
			`"verb":"patch","objectRef":{"resource":"configmaps"}`,
			`"verb":"create","objectRef":{"resource":"clusterroles"}`,
			`"verb":"create","objectRef":{"resource":"clusterrolebindings"}`,
			`"verb":"create","objectRef":{"resource":"pods","subresource":"exec"}`,
			`"verb":"create","objectRef":{"resource":"certificatesigningrequests"}`,
			`"verb":"create","objectRef":{"resource":"ingresses"}`,
			`"verb":"patch","objectRef":{"resource":"pods"}`,
		} {
			if !strings.Contains(event, "requestObject") && !strings.Contains(target, "exec") {
				continue
			}
			raw := []byte(`{"auditID":"a",` + target + `,` + event[1:])
			var a audit.Event
			if !a.Load(raw) {
				t.Fatalf("%s: not JSON", what)
			}
			var e extract.Event
			var v extract.Value
			slowest, most, all := "", time.Duration(0), time.Duration(0)
			e.Reset(&a)
			for i := range list {
				q := &list[i]
				took := cputime.Of(func() {
					v.Reset()
					q.Answer(&e, &v)
				})
				if all += took; took > most {
					slowest, most = fmt.Sprintf("%s[%s]", q.Field.Name, q.Argument.Key), took
				}
				if texts, _ := v.Texts(); len(texts) > 20<<20 {
					t.Errorf("%s: %s yields %d MB", what, q.Field.Name, len(texts)>>20)
				}
			}
			if all > 20*time.Second || most > 3*time.Second {
				t.Errorf("%s, %s: %v, of it %s %v", what, target, all, slowest, most)
			} else if testing.Verbose() && all > 300*time.Millisecond {
				t.Logf("%s, %s: %v, of it %s %v", what, target, all, slowest, most)
			}
		}
	}
}
