package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// A node is a JSON value whose members keep their order.
type node struct {
	key     string // if it is a member of an object
	value   json.RawMessage
	members []*node // of an object or a list
	object  bool
	list    bool
}

func parseNode(text []byte) (*node, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return readNode(d)
}

func readNode(d *json.Decoder) (*node, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	delim, nested := t.(json.Delim)
	if !nested {
		var b bytes.Buffer
		encoder := json.NewEncoder(&b)
		encoder.SetEscapeHTML(false)
		err := encoder.Encode(t)
		return &node{value: bytes.TrimSpace(b.Bytes())}, err
	}
	n := &node{object: delim == '{', list: delim == '['}
	for d.More() {
		key := ""
		if n.object {
			t, err := d.Token()
			if err != nil {
				return nil, err
			}
			key = fmt.Sprint(t)
		}
		member, err := readNode(d)
		if err != nil {
			return nil, err
		}
		member.key = key
		n.members = append(n.members, member)
	}
	_, err = d.Token()
	return n, err
}

// append appends the value on one line.
func (n *node) append(dst []byte) []byte {
	if !n.object && !n.list {
		return append(dst, n.value...)
	}
	brackets := "[]"
	if n.object {
		brackets = "{}"
	}
	dst = append(dst, brackets[0])
	for i, m := range n.members {
		if i > 0 {
			dst = append(dst, ',', ' ')
		}
		if n.object {
			key, _ := json.Marshal(m.key)
			dst = append(append(dst, key...), ':', ' ')
		}
		dst = m.append(dst)
	}
	return append(dst, brackets[1])
}

// layout appends the value on as many lines as it needs to be no wider than a page.
func (n *node) layout(dst []byte, indent int) []byte {
	const width = 116
	if line := n.append(nil); len(line)+2*indent <= width || len(n.members) == 0 {
		return append(dst, line...)
	}
	brackets := "[]"
	if n.object {
		brackets = "{}"
	}
	dst = append(dst, brackets[0], '\n')
	for i, m := range n.members {
		dst = append(dst, strings.Repeat("  ", indent+1)...)
		if n.object {
			key, _ := json.Marshal(m.key)
			dst = append(append(dst, key...), ':', ' ')
		}
		dst = m.layout(dst, indent+1)
		if i < len(n.members)-1 {
			dst = append(dst, ',')
		}
		dst = append(dst, '\n')
	}
	return append(append(dst, strings.Repeat("  ", indent)...), brackets[1])
}

// kept are members of an event that stay although no rule may ask for them: a reader does.
var kept = []string{"auditID", "stage", "verb", "requestURI", "user", "user.username", "objectRef", "sourceIPs", "userAgent", "responseStatus", "responseStatus.code", "stageTimestamp"}

// shortened takes out of an event all that can be taken out of it while it is still such an event, and lays it out.
func shortened(line []byte, is func([]byte) bool) (string, error) {
	root, err := parseNode(line)
	if err != nil {
		return "", err
	}
	var shorten func(n *node, path string)
	shorten = func(n *node, path string) {
		for i := 0; i < len(n.members); {
			m := n.members[i]
			inside := path + m.key
			if slices.Contains(kept, inside) || strings.HasPrefix(inside, "objectRef.") || strings.HasPrefix(inside, "sourceIPs.") {
				shorten(m, inside+".")
				i++
				continue
			}
			n.members = slices.Delete(n.members, i, i+1)
			if !is(root.append(nil)) {
				n.members = slices.Insert(n.members, i, m)
				shorten(m, inside+".")
				i++
			}
		}
	}
	shorten(root, "")
	return string(root.layout(nil, 0)), nil
}
