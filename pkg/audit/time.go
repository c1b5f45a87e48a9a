package audit

import "time"

// Time reads an RFC 3339 timestamp, as metav1.Time and metav1.MicroTime are written.
func (n Node) Time() (time.Time, bool) {
	b := n.Bytes()
	// What the API server writes: 2026-11-21T03:06:57.127890Z, or without the fraction.
	if len(b) >= 20 && b[4] == '-' && b[7] == '-' && b[10] == 'T' && b[13] == ':' && b[16] == ':' && b[len(b)-1] == 'Z' {
		year, month, day := number(b[0:4]), number(b[5:7]), number(b[8:10])
		hour, minute, second := number(b[11:13]), number(b[14:16]), number(b[17:19])
		nanos, ok := fraction(b[19 : len(b)-1])
		if ok && year >= 1970 && year < 2262 && month >= 1 && month <= 12 && day >= 1 && day <= 28 && hour >= 0 && hour < 24 && minute >= 0 && minute < 60 && second >= 0 && second < 60 {
			return time.Date(year, time.Month(month), day, hour, minute, second, nanos, time.UTC), true
		}
	}
	if len(b) == 0 {
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339Nano, string(b))
	return t, err == nil && t.Year() >= 1970 && t.Year() < 2262 // what fits nanoseconds since 1970
}

// number reads decimal digits; anything else makes it negative.
func number(b []byte) int {
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int(c-'0')
	}
	return n
}

// fraction reads ".127890" as nanoseconds; nothing is zero.
func fraction(b []byte) (int, bool) {
	if len(b) == 0 {
		return 0, true
	}
	if b[0] != '.' || len(b) < 2 || len(b) > 10 {
		return 0, false
	}
	n := number(b[1:])
	for range 10 - len(b) {
		n *= 10
	}
	return n, n >= 0
}
