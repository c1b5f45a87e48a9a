package ruletest

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

// older are members that audit.k8s.io/v1 does not have: two of its predecessors, and ours.
var older = []string{"metadata", "timestamp", "kaudit"}

func TestTheShapeOfEventsIsThatOfKubernetes(t *testing.T) {
	compare(t, "an event", eventShape, reflect.TypeFor[auditv1.Event]())
}

func compare(t *testing.T, what string, s shape, of reflect.Type) {
	if of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	want := "text"
	switch of.Kind() {
	case reflect.Struct, reflect.Map:
		want = "object"
	case reflect.Slice:
		want = "list"
	case reflect.Int32:
		want = "number"
	}
	switch {
	case of == reflect.TypeFor[runtime.Unknown]():
		want = ""
	case of.Name() == "MicroTime":
		want = "text"
	}
	if s.kind != want {
		t.Errorf("%s is %q, want %q for %v", what, s.kind, want, of)
	}
	if s.members == nil {
		return
	}
	types := map[string]reflect.Type{}
	members(of, types)
	for name, typ := range types {
		below, ok := s.members[name]
		if !ok {
			t.Errorf("%s lacks %s", what, name)
			continue
		}
		compare(t, name, below, typ)
	}
	for name := range s.members {
		if types[name] == nil && (what != "an event" || !slices.Contains(older, name)) {
			t.Errorf("%s has %s, and Kubernetes does not", what, name)
		}
	}
}

// members finds the members that a type has in JSON.
func members(of reflect.Type, types map[string]reflect.Type) {
	for i := range of.NumField() {
		f := of.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" && strings.Contains(options, "inline") {
			members(f.Type, types)
			continue
		}
		types[name] = f.Type
	}
}
