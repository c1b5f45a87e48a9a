package audit

// Looked reports whether something has asked for the member since the event was loaded, be it there or not; asking with
// Has does not count.
func (e *Event) Looked(m Member) bool { return e.parsed[m].state != unparsed }

// AppendEdited appends the event with the JSON of each member replaced by what edit returns for it, and without the
// member if that is nil. Members that are not in the list of this package stay, and what Tag added is left out.
func (e *Event) AppendEdited(dst []byte, edit func(m Member, value []byte) []byte) []byte {
	start := len(dst)
	dst = append(dst, '{')
	for i := space(e.raw, 1); i < len(e.raw) && e.raw[i] == '"'; {
		key, colon, ok := e.memberKey(e.raw, i)
		if !ok {
			break
		}
		m, known := member(key, Kind)
		v, ok := e.scan.value(e.raw, colon)
		if !ok {
			break
		}
		from := space(e.raw, v.from)
		value := e.raw[from:v.to]
		if known {
			value = edit(m, value)
		}
		if value != nil {
			if len(dst) > start+1 {
				dst = append(dst, ',')
			}
			dst = append(append(dst, e.raw[i:from]...), value...)
		}
		if i = space(e.raw, v.to); i >= len(e.raw) || e.raw[i] != ',' {
			break
		}
		i = space(e.raw, i+1)
	}
	return append(dst, '}')
}
