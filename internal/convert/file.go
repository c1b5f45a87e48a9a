package convert

import (
	"bytes"
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"kaudit/pkg/rules"
)

// A Result is what became of a file.
type Result struct {
	Name    string
	Before  []byte
	After   []byte
	Changed int    // how many fields have been replaced
	Notes   []Note // in their order in the file

	changes []change
}

// A Note is something that the reader of the converted rules should know.
type Note struct {
	Pos   rules.Position
	Item  string // the rule, macro or list
	Field string // as it was written; may be empty
	Text  string
	Hint  string // what to do
	Left  bool   // the field was left as it was
}

// A change puts a text in place of some bytes.
type change struct {
	from, to int
	with     string
}

// Files converts rule files that Falco loads together. The error is a [*rules.LoadError]: one of them is not YAML.
func Files(files ...rules.File) ([]*Result, error) {
	writers := make([]*writer, len(files))
	clean, newer := true, false
	for i, f := range files {
		items, err := rules.Items(f)
		if err != nil {
			return nil, err
		}
		w := convert(f, items, true)
		if !w.proved() {
			w = convert(f, items, false)
		}
		writers[i] = w
		clean = clean && w.Left() == 0
		newer = newer || w.newer
	}
	var results []*Result
	for _, w := range writers {
		if before := len(w.changes); clean {
			w.requirements(newer)
			if !w.proved() { // lines are not where they seem to be
				w.changes = w.changes[:before]
				w.Notes = append(w.Notes, Note{Pos: rules.Position{File: w.Name}, Text: "the json plugin is no longer needed", Hint: "take it off required_plugin_versions by hand"})
			}
		}
		w.apply()
		slices.SortStableFunc(w.Notes, func(a, b Note) int { return cmp.Compare(a.Pos.Line, b.Pos.Line) })
		results = append(results, w.Result)
	}
	return results, nil
}

// convert converts the texts of a file. search says that a text which is not where it should be, since YAML has escapes,
// is looked for.
func convert(f rules.File, items []rules.Item, search bool) *writer {
	w := &writer{Result: &Result{Name: f.Name, Before: f.Content}, search: search}
	for _, item := range items {
		w.item = strings.TrimSpace(item.Kind + " " + item.Name)
		for _, text := range item.Texts {
			w.from, w.grown = 0, 0
			w.want = append(w.want, []byte(text.Value))
			w.text(text)
		}
	}
	return w
}

// proved reports whether the new file has the texts that it should have.
func (w *writer) proved() bool {
	w.apply()
	items, err := rules.Items(rules.File{Name: w.Name, Content: w.After})
	if err != nil {
		return false
	}
	var got []string
	for _, item := range items {
		for _, text := range item.Texts {
			got = append(got, text.Value)
		}
	}
	return slices.EqualFunc(got, w.want, func(text string, want []byte) bool { return text == string(want) })
}

// Left returns how many fields were left as they were.
func (r *Result) Left() (n int) {
	for _, note := range r.Notes {
		if note.Left {
			n++
		}
	}
	return n
}

// apply makes After.
func (r *Result) apply() {
	r.After = r.replaced(0, len(r.Before), r.sorted())
}

// sorted are the changes in their order in the file, those left out that are within others.
func (r *Result) sorted() []change {
	all := slices.SortedFunc(slices.Values(r.changes), func(a, b change) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(b.to, a.to)) })
	end := 0
	return slices.DeleteFunc(all, func(c change) bool {
		if c.from < end {
			return true
		}
		end = c.to
		return false
	})
}

// replaced returns a part of the file with changes applied.
func (r *Result) replaced(from, to int, changes []change) []byte {
	var b bytes.Buffer
	for _, c := range changes {
		b.Write(r.Before[from:c.from])
		b.WriteString(c.with)
		from = c.to
	}
	b.Write(r.Before[from:to])
	return b.Bytes()
}

// A writer converts one file.
type writer struct {
	*Result
	item   string
	newer  bool // a field was written that the official plugin does not have
	search bool
	from   int      // where to search
	grown  int      // how much longer the text in work has become
	want   [][]byte // what each text shall be
}

// text converts the fields in a text.
func (w *writer) text(t rules.Text) {
	if !foreign.MatchString(t.Value) {
		return
	}
	switch t.Key {
	case "output":
		for _, m := range printed.FindAllStringSubmatchIndex(t.Value, -1) {
			if x, n := fieldAt(t.Value, m[2]); x != nil {
				inside := m[2] > 0 && (t.Value[m[2]-1] == '(' || t.Value[m[2]-1] == ',')
				w.replace(t, x, m[2], n, use{other: inside})
			}
		}
	case "condition":
		w.condition(t, t.Value)
	case "fields": // of exceptions, which are written as a comparison
		w.condition(t, t.Value+" exists")
	}
}

var (
	foreign = regexp.MustCompile(`\b(?:jevt|json)\.(?:value|obj|rawtime)\b`)
	// A field in an output follows a percent sign, the width, or the parenthesis of a transformer.
	printed = regexp.MustCompile(`%[0-9]*(?:[a-z0-9]+\(\s*)*((?:jevt|json)\.(?:value|obj|rawtime)\b)`)
	joint   = regexp.MustCompile(`^\s*(?:and|or)\b`)
)

// condition converts the fields in a condition. What a later file appends begins with and or or.
func (w *writer) condition(t rules.Text, text string) {
	shift := len(joint.FindString(text))
	x, err := rules.Parse(text[shift:])
	if err != nil {
		w.note(t, 0, Note{Text: "the " + t.Key + " cannot be read", Hint: "kaudit check says why", Left: true})
		return
	}
	starts := lineStarts([]byte(text[shift:]))
	rules.Walk(x, func(x rules.Expr) bool {
		check, ok := x.(*rules.Check)
		if !ok {
			return true
		}
		for side, expr := range []rules.Expr{check.Left, check.Right} {
			rules.Walk(expr, func(x rules.Expr) bool {
				field, ok := x.(*rules.Field)
				if !ok || !IsForeign(field.Name) {
					return true
				}
				at := use{op: check.Op, right: constants(check.Right), other: side == 1 || x != expr}
				if _, compared := check.Right.(*rules.Transform); compared || t.Key == "fields" {
					at.other = true
				}
				p := x.Pos()
				offset := starts[p.Line-1] + p.Column - 1 + shift
				offset += len(text[offset:]) - len(strings.TrimLeft(text[offset:], " \t\b\r\n("))
				if _, n := fieldAt(text, offset); n > 0 {
					w.replace(t, field, offset, n, at)
				} else {
					w.note(t, offset, Note{Field: field.String(), Text: "it is not where it should be", Hint: "write it by hand", Left: true})
				}
				return true
			})
		}
		return false
	})
}

// constants are those on the right of a comparison.
func constants(x rules.Expr) []string {
	switch x := x.(type) {
	case *rules.Value:
		return []string{x.Text}
	case *rules.List:
		return x.Items
	}
	return nil
}

// fieldAt reads a field in a text, and returns its length.
func fieldAt(text string, offset int) (*rules.Field, int) {
	name := foreign.FindString(text[offset:])
	if name == "" || !strings.HasPrefix(text[offset:], name) {
		return nil, 0
	}
	n := len(name)
	for end := offset + n; strings.HasPrefix(text[offset+n:], "["); {
		i := strings.IndexByte(text[end:], ']')
		if i < 0 {
			return nil, 0
		}
		end += i + 1
		x, err := rules.Parse(text[offset:end] + " exists")
		if err != nil { // a bracket in quotes
			continue
		}
		check, ok := x.(*rules.Check)
		if !ok {
			return nil, 0
		}
		field, ok := check.Left.(*rules.Field)
		if !ok {
			return nil, 0
		}
		return field, end - offset
	}
	return &rules.Field{Name: name}, n
}

// replace puts the equivalent of a field of n bytes in its place.
func (w *writer) replace(t rules.Text, x *rules.Field, offset, n int, at use) {
	written := t.Value[offset : offset+n]
	e := equivalentOf(x, written[len(x.Name):], at)
	if e.text == "" {
		w.note(t, offset, Note{Field: written, Text: e.note, Hint: e.hint, Left: true})
		return
	}
	from := w.find(t, offset, written)
	if from < 0 {
		w.note(t, offset, Note{Field: written, Text: "it is written with escapes of YAML", Hint: "write " + e.text + " for it", Left: true})
		return
	}
	if e.note != "" {
		w.note(t, offset, Note{Field: written, Text: e.note})
	}
	want := &w.want[len(w.want)-1]
	*want = slices.Replace(*want, offset+w.grown, offset+w.grown+n, []byte(e.text)...)
	w.grown += len(e.text) - n
	w.newer = w.newer || !official(e.text)
	if c := (change{from, from + n, e.text}); !slices.Contains(w.changes, c) { // an alias of YAML is met more than once
		w.changes = append(w.changes, c)
		w.Changed++
	}
}

// find returns where a part of a text is in the file, or -1.
func (w *writer) find(t rules.Text, offset int, written string) int {
	at := w.offset(t.Position(offset))
	if at >= 0 && bytes.HasPrefix(w.Before[at:], []byte(written)) {
		w.from = at + len(written)
		return at
	}
	if !w.search || at < 0 {
		return -1
	}
	from := max(w.from, w.offset(t.Position(0)))
	if at = bytes.Index(w.Before[from:], []byte(written)); at < 0 {
		return -1
	}
	w.from = from + at + len(written)
	return from + at
}

// official reports whether the official plugin or Falco has what was written for a field.
func official(text string) bool {
	switch text {
	case "ka.impuser.uid", "ka.level", "ka.target.resourceversion", "ka.target.uid", "ka.message", "ka.status", "ka.user.uid":
		return false
	}
	return !strings.HasPrefix(text, "ka.value[")
}

func (w *writer) note(t rules.Text, offset int, n Note) {
	n.Pos, n.Item = t.Position(offset), w.item
	if !slices.Contains(w.Notes, n) {
		w.Notes = append(w.Notes, n)
	}
}

// offset returns where a position is in the file, or -1.
func (r *Result) offset(p rules.Position) int {
	starts := lineStarts(r.Before)
	if p.Line < 1 || p.Line > len(starts) {
		return -1
	}
	at := starts[p.Line-1] + p.Column - 1
	if at > len(r.Before) {
		return -1
	}
	return at
}

// lineStarts are the offsets of lines.
func lineStarts(text []byte) []int {
	starts := []int{0}
	for i, c := range text {
		if c == '\n' {
			starts = append(starts, i+1)
		}
	}
	return starts
}

// Diff renders what has changed as diff -u does.
func (r *Result) Diff() string {
	starts := append(lineStarts(r.Before), len(r.Before)+1)
	lineOf := func(offset int) int { // from 0
		i, found := slices.BinarySearch(starts, offset)
		if !found {
			i--
		}
		return i
	}
	type block struct{ from, to int } // lines that change, the last not included
	var blocks []block
	for _, c := range r.sorted() {
		from, to := lineOf(c.from), lineOf(max(c.from, c.to-1))+1
		if n := len(blocks); n > 0 && from <= blocks[n-1].to {
			blocks[n-1].to = max(to, blocks[n-1].to)
			continue
		}
		blocks = append(blocks, block{from, to})
	}
	if len(blocks) == 0 {
		return ""
	}
	const around = 3
	lines := strings.Split(strings.TrimSuffix(string(r.Before), "\n"), "\n")
	var b strings.Builder
	fmt.Fprintf(&b, "--- %s\n+++ %s\n", r.Name, r.Name)
	moved := 0 // how many lines the new file has more so far
	for i := 0; i < len(blocks); {
		k := i + 1
		for k < len(blocks) && blocks[k].from-blocks[k-1].to <= 2*around {
			k++
		}
		first, last := max(0, blocks[i].from-around), min(len(lines), blocks[k-1].to+around)
		var body strings.Builder
		at, added := first, 0
		for _, bl := range blocks[i:k] {
			for ; at < bl.from; at++ {
				body.WriteString(" " + lines[at] + "\n")
			}
			for ; at < min(bl.to, len(lines)); at++ {
				body.WriteString("-" + lines[at] + "\n")
				added--
			}
			for _, l := range r.newLines(starts[bl.from], min(starts[bl.to], len(r.Before))) {
				body.WriteString("+" + l + "\n")
				added++
			}
		}
		for ; at < last; at++ {
			body.WriteString(" " + lines[at] + "\n")
		}
		fmt.Fprintf(&b, "@@ -%d,%d +%d,%d @@\n%s", first+1, last-first, first+1+moved, last-first+added, body.String())
		moved += added
		i = k
	}
	return b.String()
}

// newLines are the lines that stand in place of those between two offsets.
func (r *Result) newLines(from, to int) []string {
	var inside []change
	for _, c := range r.sorted() {
		if c.from >= from && c.to <= to {
			inside = append(inside, c)
		}
	}
	text := string(r.replaced(from, to, inside))
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}
