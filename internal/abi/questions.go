package abi

import (
	"log/slog"
	"sync/atomic"

	"kaudit/pkg/extract"
)

// maxQuestions bounds the questions that are answered ahead. Rules are written by people; no ruleset comes near.
const maxQuestions = 1 << 14

// questions is the list of what rules have asked, in the order they asked. The host's thread appends, decode workers
// read; what is in the list never changes.
type questions struct {
	table extract.Table
	list  atomic.Pointer[[]extract.Question]
}

func newQuestions(table extract.Table) *questions {
	q := &questions{table: table}
	q.list.Store(new([]extract.Question))
	return q
}

func (q *questions) all() []extract.Question { return *q.list.Load() }

// add appends a question. One whose argument makes no sense is in the list too, and never has an answer.
func (q *questions) add(field int, a extract.Argument, log *slog.Logger) {
	question, err := q.table.Ask(field, a)
	if err != nil {
		log.Error("a rule asks for what cannot be answered", "error", err)
	}
	list := append(q.all(), question) // readers see the old length: the list only grows
	q.list.Store(&list)
}
