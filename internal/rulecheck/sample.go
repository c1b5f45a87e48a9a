package rulecheck

import (
	"strings"

	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
	"kaudit/pkg/rules"
)

// A sample is an event from which some fields are taken as they are.
type sample struct {
	event  *extract.Event
	answer bool // those of the answer, too, not only those of bodies
}

func newSample(text string, answer bool) *sample {
	e := new(audit.Event)
	e.Load([]byte(text))
	s := &sample{event: new(extract.Event), answer: answer}
	s.event.Reset(e)
	return s
}

// received is how a request looks at first: neither bodies nor an answer.
func received() *sample {
	return newSample(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"1","level":"Metadata","stage":"RequestReceived"}`, true)
}

// bodiless is an event of a request and an answer whose bodies are not recorded.
func bodiless() *sample {
	return newSample(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"1","level":"Metadata","stage":"ResponseComplete"}`, false)
}

// fixes reports whether a field is taken from the sample.
func (s *sample) fixes(name string) bool {
	return isBody(name) || name == "ka.value" || name == "ka.values" || name == "ka.number" || s.answer && isAnswer(name)
}

// values returns those a field has in the sample, nil if it is not there.
func (s *sample) values(row *extract.Field, f *rules.Field) []string {
	arg := f.Arg
	if row.Name == "ka.value" || row.Name == "ka.values" || row.Name == "ka.number" {
		if p := strings.TrimPrefix(arg, "/"); !strings.HasPrefix(p, "requestObject") && !strings.HasPrefix(p, "responseObject") && !s.answer {
			return []string{"?"}
		}
	}
	id, _ := table.Find(row.Name)
	a, err := row.ParseArg(arg, f.HasArg && row.Arg != extract.NoArg)
	if err != nil {
		return nil
	}
	q, err := table.Ask(id, a)
	if err != nil {
		return nil
	}
	var v extract.Value
	q.Answer(s.event, &v)
	var out []string
	for i := range v.Len() {
		switch {
		case row.From.Type == extract.Text:
			out = append(out, string(v.Text(i)))
		case row.From.Type == extract.Bool && v.Numbers()[i] != 0:
			out = append(out, "true")
		case row.From.Type == extract.Bool:
			out = append(out, "false")
		}
	}
	return out
}
