// Package rulecheck finds what is wrong with rules although Falco takes them: conditions that never hold, rules that hide
// others, requests judged twice, ways around a rule that are known.
//
// Each check is a row of a table, with the reason for it, what to do, an example on which it reports something and one on
// which it does not. The docs and the tests walk the table.
//
// Whether a condition can hold is decided by looking for an event on which it does: see world. Where that cannot be
// told, a check says nothing.
package rulecheck
