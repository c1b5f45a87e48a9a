package policy

import (
	_ "embed"
	"slices"
	"strings"
)

// noise are the requests of which every cluster has many and from which nobody learns anything; withheld are those whose
// bodies hold credentials, with the most that may be recorded of them. Both are policies, so that the API server's own
// code says which requests they are about.
var (
	//go:embed noise.yaml
	noiseText []byte
	//go:embed withheld.yaml
	withheldText []byte
)

// common is a policy of this package, and its rules as they are written, with their comments.
type common struct {
	*Policy
	texts []string
}

func loadCommon(name string, text []byte) common {
	p, err := Load(name, text)
	if err != nil {
		panic(err) // it is compiled in, and tests load it
	}
	c := common{Policy: p}
	lines := strings.SplitAfter(string(text), "\n")
	end := len(lines)
	for _, at := range slices.Backward(p.Rules) {
		from := at.Line - 1
		for from > 0 && (strings.TrimSpace(lines[from-1]) == "" || strings.HasPrefix(strings.TrimSpace(lines[from-1]), "#")) {
			from--
		}
		c.texts = append(c.texts, strings.Join(lines[from:end], ""))
		end = from
	}
	slices.Reverse(c.texts)
	return c
}

// is reports whether one of the rules is about a request.
func (c common) is(r *request) bool { return c.decide(r).Rule >= 0 }

// most returns the highest level at which a request may be recorded.
func (c common) most(r *request) Level {
	if d := c.decide(r); d.Rule >= 0 {
		return d.Level
	}
	return RequestResponse
}
