package rules

import "strings"

// Layout renders a condition on several lines, so that it can be read and parsed again. What has more than width bytes is
// broken before and and or, and between the items of lists.
func Layout(x Expr, width int) string { return strings.Join(lines(x, width), "\n") }

const indent = "  "

func lines(x Expr, width int) []string {
	text := x.String()
	if len(text) <= width {
		return []string{text}
	}
	switch x := x.(type) {
	case *And:
		return linesOf(x.Parts, "and ", width)
	case *Or:
		return linesOf(x.Parts, "or ", width)
	case *Not:
		switch x.Part.(type) {
		case *And, *Or, *Not:
			return inParentheses("not ", lines(x.Part, width-len(indent)))
		}
		inner := lines(x.Part, width-len("not "))
		inner[0] = "not " + inner[0]
		return inner
	case *Check:
		if list, ok := x.Right.(*List); ok {
			return linesOfList(x, list, width)
		}
	}
	return []string{text}
}

// linesOf lays out the parts of an And or Or. A part is in parentheses where it is in them on one line.
func linesOf(parts []Expr, word string, width int) []string {
	var out []string
	for i, part := range parts {
		lead := word
		if i == 0 {
			lead = ""
		}
		_, and := part.(*And)
		_, or := part.(*Or)
		if or || and && word == "and " {
			if text := part.String(); len(lead)+len(text)+2 <= width {
				out = append(out, lead+"("+text+")")
				continue
			}
			out = append(out, inParentheses(lead, lines(part, width-len(indent)))...)
			continue
		}
		for k, line := range lines(part, width-max(len(lead), len(indent))) {
			switch {
			case k == 0:
				out = append(out, lead+line)
			case and:
				out = append(out, indent+line)
			default:
				out = append(out, line)
			}
		}
	}
	return out
}

func inParentheses(lead string, inner []string) []string {
	out := []string{lead + "("}
	for _, line := range inner {
		out = append(out, indent+line)
	}
	return append(out, ")")
}

func linesOfList(x *Check, list *List, width int) []string {
	out := []string{x.Left.String() + " " + x.Op + " ("}
	line := indent
	for i, item := range list.Items {
		text := word(item)
		if i < len(list.Items)-1 {
			text += ","
		}
		if len(line) > len(indent) && len(line)+len(text) > width {
			out = append(out, strings.TrimRight(line, " "))
			line = indent
		}
		line += text + " "
	}
	return append(out, strings.TrimRight(line, " "), ")")
}
