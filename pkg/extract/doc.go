// Package extract is what a rule may ask of an audit event: one [Table] of fields.
//
// A row of the table is a [Field]: its name, one sentence, an argument form, an [Extractor] and an example. The type of
// a field and whether it is a list follow from its extractor, so a row cannot contradict itself. The declaration to
// the host, the reference page, the command line, the tests, the fuzz targets and the benchmarks all walk the
// table: a new field is one new row.
//
// There are three families. fields_official.go has the fields of the official k8saudit plugin, with their names, types
// and meaning. fields_request.go, fields_identity.go and fields_connect.go have the request as it was: everything else
// that stands in an event. The other files have the meaning of the request: what was done to which object, and what
// that object now allows.
//
// Absence is not an error: an extractor that finds nothing adds nothing, and the field does not exist for that event.
package extract
