package main

import (
	"fmt"
	"regexp"
	"strings"

	"kaudit/pkg/extract"
)

const aboutFields = `Rules ask for these %d fields of an audit event, as in ` + "`condition: ka.verb=create and ka.pod.privileged=true`" + `.
On a terminal, ` + "`kaudit fields`" + ` lists and searches them.

- **Not there.** A field the event does not have is not an error: every comparison with it is false, ` + "`!=`" + ` included,
  ` + "`exists`" + ` is false, and output shows ` + "`<NA>`" + `. ` + "`not ka.x = y`" + ` is true of it, ` + "`ka.x != y`" + ` is not.
- **Types.** ` + "`string`" + ` is text. ` + "`uint64`" + ` is a whole number, which ` + "`<`" + ` and ` + "`>=`" + ` compare as one. ` + "`bool`" + ` is compared with
  ` + "`true`" + ` and ` + "`false`" + `. ` + "`reltime`" + ` and ` + "`abstime`" + ` are nanoseconds. ` + "`ipnet`" + ` is an address, compared with networks in CIDR
  notation; Falco cannot print it.
- **Lists.** Falco compares lists with ` + "`in`" + `, ` + "`intersects`" + ` and ` + "`exists`" + ` only. Where text operators such as ` + "`contains`" + ` are
  wanted there is a field that ends in ` + "`.joined`" + `.
- **Arguments.** A key is required and stands in brackets: ` + "`ka.uri.param[command]`" + `. An index picks one element of a
  list, from 0, and may be left out.
- **Words.** *Requested* is what the request sent; *resulting* is the object as the request left it: the response if it
  is recorded, else the request, patches understood.
- **Texts.** A NUL byte, and what is not UTF-8, shows as U+FFFD.

Examples show a fragment of an event and the value as Falco prints it. Every one of them is run by the tests.
`

func fieldsPage(families []extract.Family) []byte {
	n := 0
	for _, f := range families {
		n += len(f.Fields)
	}
	m := newMarkdown("Fields", "pkg/extract/fields*.go")
	m.text(fmt.Sprintf(aboutFields, n))
	for _, family := range families {
		m.text("## " + family.Title + "\n")
		m.text(family.Doc + "\n")
		m.head("Field", "Type", "Argument", "Meaning", "Example")
		for _, f := range family.Fields {
			m.row(code(f.Name), typeOf(f), argument(f), f.Doc, example(f.Example))
		}
		m.text("")
	}
	m.Truncate(m.Len() - 1)
	return m.Bytes()
}

func typeOf(f extract.Field) string {
	if f.From.List {
		return "list of " + string(f.From.Type)
	}
	return string(f.From.Type)
}

func argument(f extract.Field) string {
	switch f.Arg {
	case extract.RequiredKey:
		return f.ArgDoc
	case extract.OptionalIndex:
		return f.ArgDoc + ", optional"
	}
	return ""
}

// long finds strings that tell a reader nothing: base64, certificates.
var long = regexp.MustCompile(`"[0-9A-Za-z+/=]{64,}"`)

func example(e extract.Example) string {
	event := long.ReplaceAllStringFunc(e.Event, func(s string) string { return s[:17] + `…"` })
	var b strings.Builder
	if e.Arg != "" {
		b.WriteString(code("["+e.Arg+"]") + " on ")
	}
	return b.String() + code(event) + " → " + code(e.Want)
}
