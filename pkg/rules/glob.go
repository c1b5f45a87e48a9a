package rules

// glob reports whether a text matches a pattern as fnmatch of the GNU C library does without flags in the C locale:
// bytes, not characters; * matches slashes too. fold makes upper and lower case the same.
func glob(pattern, s []byte, fold bool) bool {
	var p, i int
	star, mark := -1, 0 // where to go on after the last star, and what it stands for so far
	for {
		if p < len(pattern) {
			if pattern[p] == '*' {
				star, mark = p+1, i
				p++
				continue
			}
			if i < len(s) {
				if next, ok := globOne(pattern, p, s[i], fold); ok {
					p, i = next, i+1
					continue
				}
			}
		} else if i == len(s) {
			return true
		}
		if star < 0 || mark >= len(s) {
			return false
		}
		mark++
		p, i = star, mark
	}
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

func upper(c byte) byte {
	if c >= 'a' && c <= 'z' {
		return c - 'a' + 'A'
	}
	return c
}

// globOne matches one byte with the part of the pattern at p, which is not a star, and returns where that part ends.
func globOne(pattern []byte, p int, c byte, fold bool) (next int, ok bool) {
	same := func(a byte) bool { return a == c || fold && lower(a) == lower(c) }
	switch pattern[p] {
	case '?':
		return p + 1, true
	case '\\':
		if p+1 == len(pattern) {
			return p, false
		}
		return p + 2, same(pattern[p+1])
	case '[':
		if next, ok, bracket := globBracket(pattern, p+1, c, fold); bracket {
			return next, ok
		}
	}
	return p + 1, same(pattern[p])
}

// globBracket matches one byte with a set in brackets; p is behind the opening one. bracket is false if it is not
// closed: then the bracket is an ordinary byte.
func globBracket(pattern []byte, p int, c byte, fold bool) (next int, ok, bracket bool) {
	key := c
	if fold {
		key = lower(c)
	}
	fix := func(b byte) byte {
		if fold {
			return lower(b)
		}
		return b
	}
	not := p < len(pattern) && (pattern[p] == '!' || pattern[p] == '^')
	if not {
		p++
	}
	matched := false
	for first := true; ; first = false {
		if p >= len(pattern) {
			return 0, false, false
		}
		b := pattern[p]
		p++
		switch {
		case b == ']' && !first:
			return p, matched != not, true
		case b == '\\':
			if p >= len(pattern) {
				return 0, false, true
			}
			b = pattern[p]
			p++
		case b == '[' && p < len(pattern) && pattern[p] == ':':
			if end, class := globClass(pattern, p+1); end > 0 {
				p = end
				in, known := inClass(class, c)
				if !known {
					return 0, false, true
				}
				matched = matched || in
				continue
			}
		case b == '[' && p+3 < len(pattern) && (pattern[p] == '=' || pattern[p] == '.') && pattern[p+2] == pattern[p] && pattern[p+3] == ']':
			b = pattern[p+1]
			p += 4
		}
		low, high := fix(b), fix(b)
		if p+1 < len(pattern) && pattern[p] == '-' && pattern[p+1] != ']' {
			p++
			h := pattern[p]
			p++
			if h == '\\' {
				if p >= len(pattern) {
					return 0, false, true
				}
				h = pattern[p]
				p++
			}
			high = fix(h)
		}
		matched = matched || low <= key && key <= high
	}
}

// globClass reads the name of a class of characters and returns where its brackets end, or 0.
func globClass(pattern []byte, p int) (end int, name string) {
	from := p
	for p < len(pattern) && pattern[p] >= 'a' && pattern[p] <= 'z' {
		p++
	}
	if p+1 < len(pattern) && pattern[p] == ':' && pattern[p+1] == ']' {
		return p + 2, string(pattern[from:p])
	}
	return 0, ""
}

// inClass reports whether a byte is in a class of characters of the C locale.
func inClass(name string, c byte) (in, known bool) {
	alpha := isLetter(c)
	switch name {
	case "alpha":
		return alpha, true
	case "digit":
		return isDigit(c), true
	case "alnum":
		return alpha || isDigit(c), true
	case "upper":
		return c >= 'A' && c <= 'Z', true
	case "lower":
		return c >= 'a' && c <= 'z', true
	case "space":
		return isSpace(c), true
	case "blank":
		return c == ' ' || c == '\t', true
	case "punct":
		return c > ' ' && c < 0x7f && !alpha && !isDigit(c), true
	case "print":
		return c >= ' ' && c < 0x7f, true
	case "graph":
		return c > ' ' && c < 0x7f, true
	case "cntrl":
		return c < ' ' || c == 0x7f, true
	case "xdigit":
		return isHex(c), true
	}
	return false, false
}
