// Package policy says what Kubernetes audit policies leave of the events that rules are about, and makes the smallest
// policy that serves rules. Policies are loaded and evaluated by the code of the API server.
//
// # What a rule is about
//
// A condition is evaluated on requests of which only a part is known: the verb and the resource, sometimes the user or
// the namespace, and at which level they are recorded. Whatever a check asks beside that may be anything, so a condition
// is true, false, or may be either. That needs no list of what each field reads: a field is asked of an event that has
// nothing but what is known, and the event tells which of its members were looked at. If one of them is unknown, so is
// the field; and it is, too, if its answer changes with the unknown parts of a member, such as a name.
//
// A rule is about a request if its condition may hold for it when everything is recorded. It is blind if it cannot
// hold at the level the policy records, and blind in part if a check that might decide it no longer can.
//
// # What is recorded of its events
//
// [Policy.Reduce] makes of an event what the API server would have written under the policy. So recorded events on which
// a rule fires are asked whether it still does: evidence without any analysis.
package policy
