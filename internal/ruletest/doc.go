// Package ruletest runs tests of rules: YAML files that say which rules fire on which audit events, and with what output.
// docs/rule-tests.md describes the files.
//
// [Find] finds test files. [Load] reads them with all they name, rules and events, and says what is wrong with them, file
// by file; nothing is read after that. [Suite.Run] evaluates the events and returns a [Report], which is written as text,
// JSON or JUnit's XML. [Watch] does it all again whenever one of the files changes.
//
// Rules are evaluated by package rules, whose verdicts are those of Falco's engine.
package ruletest
