package rules

import (
	"fmt"
	"strconv"
	"strings"
)

// A Falco is a minor version of Falco, 44 for 0.44. The zero value stands for the newest one known.
type Falco int

// The versions this package knows.
const (
	Oldest Falco = 35
	Newest Falco = 44
)

// engineVersions are the versions of the rule engine by Falco version (falcosecurity/falco:
// userspace/engine/falco_engine_version.h).
var engineVersions = map[Falco]version{
	35: {0, 17, 0}, 36: {0, 26, 0}, 37: {0, 31, 0}, 38: {0, 40, 0}, 39: {0, 43, 0},
	40: {0, 46, 0}, 41: {0, 50, 0}, 42: {0, 57, 0}, 43: {0, 58, 0}, 44: {0, 62, 0},
}

// since says which version of Falco brought an operator, a transformer or something else of the language
// (falcosecurity/libs: userspace/libsinsp/filter/parser.cpp). What is not listed is older than all versions known here.
var since = map[string]Falco{
	"val": 38, "tolower": 38, "toupper": 38, "b64": 38,
	"basename": 39, "regex": 39,
	"len":  40,
	"join": 44, "concat": 44, "getopt": 44,
	"oneof": 44, "anyof": 44, "allof": 44,
	// Those of rule files (falcosecurity/falco: userspace/engine/rule_loader_reader.cpp).
	"override": 37, "capture": 42, "capture_duration": 42, versionOfEngine: 37,
}

// versionOfEngine is a feature: before, required_engine_version was one number.
const versionOfEngine = "versions of the engine with dots"

// ParseFalco reads a version of Falco: 0.44, or 0.44.1.
func ParseFalco(s string) (Falco, error) {
	rest, ok := strings.CutPrefix(s, "0.")
	minor, _, _ := strings.Cut(rest, ".")
	n, err := strconv.Atoi(minor)
	if f := Falco(n); ok && err == nil && f >= Oldest && f <= Newest {
		return f, nil
	}
	return 0, fmt.Errorf("falco version %q: want %v to %v", s, Oldest, Newest)
}

func (f Falco) String() string {
	if f == 0 {
		f = Newest
	}
	return "0." + strconv.Itoa(int(f))
}

// knows reports whether the version has a feature.
func (f Falco) knows(feature string) bool { return f == 0 || f >= since[feature] }

func (f Falco) engine() version {
	if f == 0 {
		f = Newest
	}
	return engineVersions[f]
}

// A version is three numbers.
type version [3]uint32

func (v version) String() string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }

func (v version) less(w version) bool {
	for i := range v {
		if v[i] != w[i] {
			return v[i] < w[i]
		}
	}
	return false
}

// serves reports whether something of version v will do where w is required.
func (v version) serves(w version) bool { return v[0] == w[0] && !v.less(w) }

// parseVersion reads three numbers with dots between. What follows them does not matter, as for the engine.
func parseVersion(s string) (v version, ok bool) {
	for i := range v {
		if i > 0 {
			if !strings.HasPrefix(s, ".") {
				return v, false
			}
			s = s[1:]
		}
		s = strings.TrimLeft(s, " \t\n\v\f\r")
		n, rest, ok := scanUint(s)
		if !ok {
			return v, false
		}
		v[i], s = uint32(n), rest
	}
	return v, true
}

// scanUint reads an unsigned number as scanf does: behind white space, with a sign that wraps around, and the largest
// one if it is larger.
func scanUint(s string) (n uint64, rest string, ok bool) {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	negative := false
	if s != "" && (s[0] == '+' || s[0] == '-') {
		negative = s[0] == '-'
		s = s[1:]
	}
	i, over := 0, false
	for i < len(s) && isDigit(s[i]) {
		d := uint64(s[i] - '0')
		if n > (1<<64-1-d)/10 {
			over = true
		}
		n = n*10 + d
		i++
	}
	switch {
	case over:
		n = 1<<64 - 1
	case negative:
		n = -n
	}
	return n, s[i:], i > 0
}

// parseUint reads a number that is all of s.
func parseUint(s string) (uint64, bool) {
	n, rest, ok := scanUint(s)
	return n, ok && rest == ""
}
