package convert

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"kaudit/pkg/audit"
	"kaudit/pkg/rules"
)

// named are the JSON pointers for which this plugin has a field that always yields the same text.
var named = map[string]string{
	"/annotations/authorization.k8s.io~1decision": "ka.auth.decision",
	"/annotations/authorization.k8s.io~1reason":   "ka.auth.reason",
	"/auditID":                   "ka.auditid",
	"/impersonatedUser/uid":      "ka.impuser.uid",
	"/impersonatedUser/username": "ka.impuser.name",
	"/level":                     "ka.level",
	"/objectRef/name":            "ka.target.name",
	"/objectRef/namespace":       "ka.target.namespace",
	"/objectRef/resource":        "ka.target.resource",
	"/objectRef/resourceVersion": "ka.target.resourceversion",
	"/objectRef/subresource":     "ka.target.subresource",
	"/objectRef/uid":             "ka.target.uid",
	"/requestURI":                "ka.uri",
	"/responseStatus/code":       "ka.response.code",
	"/responseStatus/message":    "ka.message",
	"/responseStatus/reason":     "ka.response.reason",
	"/responseStatus/status":     "ka.status",
	"/stage":                     "ka.stage",
	"/user/uid":                  "ka.user.uid",
	"/user/username":             "ka.user.name",
	"/userAgent":                 "ka.useragent",
	"/verb":                      "ka.verb",
}

// IsForeign reports whether a field is one of the json plugin.
func IsForeign(name string) bool {
	return strings.HasPrefix(name, "jevt.") || strings.HasPrefix(name, "json.")
}

// Named returns the field of this plugin that is the same as a value of the json plugin, or as ka.value with the same
// argument, and "" if there is none.
func Named(x *rules.Field) string {
	if !x.HasArg || !IsForeign(x.Name) && x.Name != "ka.value" || !strings.HasSuffix(x.Name, ".value") {
		return ""
	}
	return named["/"+strings.TrimPrefix(x.Arg, "/")]
}

// A use is where a field stands: in an output if op is empty, else in a comparison.
type use struct {
	op    string
	right []string // the constants it is compared with
	other bool     // it is compared with something else, or stands in a transformer
}

// An equivalent is what to write for a field.
type equivalent struct {
	text string // empty if there is none
	note string // what is different, or why there is none
	hint string // what to do
}

var (
	digits  = regexp.MustCompile(`^[+-]?[0-9]+$`)
	decimal = regexp.MustCompile(`^(0|[1-9][0-9]*)$`)
)

// equivalentOf returns what to write for a field of the json plugin.
func equivalentOf(x *rules.Field, written string, at use) equivalent {
	switch _, kind, _ := strings.Cut(x.Name, "."); kind {
	case "value":
		return value(x, written, at)
	case "rawtime":
		return rawtime(at)
	case "obj":
		return whole(at)
	}
	return equivalent{note: x.Name + " is no field of the json plugin", hint: "see kaudit fields"}
}

// value is for a value at a JSON pointer. written is the argument with its brackets.
func value(x *rules.Field, written string, at use) equivalent {
	if field := Named(x); field != "" {
		return equivalent{text: field}
	}
	if x.Arg == "" {
		return whole(at)
	}
	pointer, err := audit.ParsePointer(x.Arg)
	if err != nil {
		return equivalent{note: "the value at " + x.Arg + " is never there", hint: "take the comparison out"}
	}
	for _, token := range pointer {
		if digits.MatchString(token) && !decimal.MatchString(token) {
			return equivalent{note: "to the json plugin " + token + " may be an index, and to this one it is a key", hint: "write the index without sign and leading zeros"}
		}
	}
	return equivalent{text: "ka.value" + written}
}

// rawtime is for the time of the event: a text of digits there, a number here.
func rawtime(at use) equivalent {
	const field = "evt.rawtime"
	hint := "compare " + field + ", which is a number"
	switch {
	case at.other:
		return equivalent{note: field + " is a number, and the json plugin's is a text", hint: hint}
	case at.op == "" || at.op == "exists":
		return equivalent{text: field}
	}
	for _, c := range at.right {
		if !decimal.MatchString(c) {
			return equivalent{note: field + " is a number, and " + c + " is none", hint: hint}
		}
	}
	switch at.op {
	case "=", "==", "!=", "in", "intersects":
		return equivalent{text: field}
	}
	return equivalent{note: field + " is a number, and " + at.op + " compares the json plugin's as a text", hint: hint}
}

// whole is for the whole event.
func whole(at use) equivalent {
	if at.op == "" && !at.other {
		return equivalent{text: "evt.plugininfo", note: "evt.plugininfo prints the event as it came, on one line"}
	}
	return equivalent{note: "no field compares the whole event with the white space the json plugin puts into it", hint: "ask for the part that matters: ka.value[/requestObject/spec]"}
}

// Pointers returns the JSON pointers for which there is a field of its own.
func Pointers() []string { return slices.Sorted(maps.Keys(named)) }
