// Package rules is Falco's rule language in Go, over the fields of package extract: it loads rule files, checks them, and
// evaluates their rules on audit events, without Falco.
//
// It is the engine's twin and not its cousin: what Falco accepts is accepted here, what it refuses is refused, a rule
// holds here where it holds there, and alerts are the same to the byte. test/e2e/differential compares the two, rule by
// rule and condition by condition; what differs is listed below.
//
// # A tour
//
// [Load] and [LoadFS] read files and folders in Falco's order and return a [Ruleset]: the rules with lists, macros and
// exceptions expanded, where each was defined, and the warnings that Falco would give. An error is a [*LoadError] with a
// [Problem] for each thing that is wrong: file, line, column, an excerpt, and what to write instead.
//
//	set, err := rules.Load(rules.Options{}, "rules")
//
// [Ruleset.Engine] compiles the enabled rules. [Engine.Evaluate] tries them on an event and returns those that hold; a
// [Match] renders the alert as text or JSON, the way Falco prints it, when asked to. Each field is asked at most once an
// event, however many rules use it, and what several conditions have in common is worked out once.
//
//	engine := set.Engine()
//	for _, m := range engine.Evaluate(rules.Event{Event: e, Number: n, Time: t}, rules.First) {
//		line = m.AppendText(line[:0], rules.Style{})
//	}
//
// [Ruleset.Explain] evaluates one rule on an event and keeps what each part of the condition was, and what the event
// had: a [Trace], for people who ask why a rule fires or does not. An [Explainer] does so for many events.
//
//	trace, err := set.Explain("Exec into Pod", rules.Event{Event: e, Number: n, Time: t})
//	fmt.Print(trace)
//
// Underneath, file.go reads YAML into a collection, collection.go expands it as Falco's loader does, parse.go turns
// conditions into an [Expr], operand.go and compare.go compile that into functions, output.go renders alerts, and
// trace.go does what engine.go does, with a look at each part.
//
// # Fields
//
// Rules may ask for the fields of the table, for those evt.* fields that every event has, and for the fields of Falco's
// json plugin (json.*, jevt.*), so that rules written for the official plugin run as they are. Rules of other sources
// than k8s_audit are loaded and not evaluated; of their fields only those of the table are refused, in conditions.
//
// An event that is a notice (package audit: Event.IsNotice) is evaluated as the asynchronous event that the plugin makes of it:
// evt.is_async, evt.asynctype and ka.notice.* are there, and no other field of the table is.
//
// # Versions
//
// [Options.Falco] says which Falco the rules are for. What an older one does not know is refused: transformers,
// operators, modifiers, override, versions of the engine with dots. Keys that it ignores (capture, capture_duration) are
// warned of.
//
// # Differences
//
// These are known, and none of them is in the official rules or in those of this project:
//
//   - Falco crashes when a condition compares the result of join, concat or getopt with a field, when a number in a list
//     inside of a transformer is absent, and when exceptions with several fields replace others and have no comps. Here
//     the first and the last are errors, and the second is absent.
//   - A zero byte in a condition is an error; to Falco the text ends there in some places and not in others.
//   - Conditions nest 1,000 levels deep at most; Falco runs out of its stack somewhat later. The exceptions of a file
//     have 262,144 values at most, with those that aliases repeat; Falco would run out of memory, or of its stack.
//   - pmatch with several patterns in the place of one component: Falco loses its position in the path if the first
//     pattern matches and what is behind it does not. Here each pattern is tried.
//   - A regular expression sees a byte that is not UTF-8, which only b64() can make, as one character.
//   - To json.value and jevt.value the last one counts of a key that an object has twice; to the official plugin, the first.
//   - In an output, Falco before 0.44 reads the argument of a field up to the bracket, with quotes if there are some, and
//     takes brackets for an argument that follow a field without one. Here outputs are always read as 0.44 does.
//   - Falco remembers comparisons by their text, in which the lists ("a,b") and (a, b) look the same. Here they are not.
package rules
