package audit

import (
	"encoding/json"
	"strings"
	"testing"
)

// scanned reports whether the scanner takes b for one JSON value with white space around it.
func scanned(b []byte) (span, bool) {
	var s scanner
	v, ok := s.value(b, space(b, 0))
	return v, ok && space(b, v.to) == len(b)
}

func TestTheScannerTakesWhatIsJSON(t *testing.T) {
	for _, row := range []struct {
		text          string
		values, depth int // no values: it is not JSON
	}{
		{`0`, 1, 0},
		{`-0`, 1, 0},
		{`-0.10e+05`, 1, 0},
		{`1E9`, 1, 0},
		{`true`, 1, 0},
		{`null`, 1, 0},
		{`""`, 1, 0},
		{` [ ] `, 1, 1},
		{`{}`, 1, 1},
		{`[1,2]`, 3, 1},
		{`{"a":[{}],"b":"c"}`, 4, 3},
		{"{\"a\"\t:\r\n1}", 2, 1},
		{`"\"\\\/\b\f\n\r\t\u00e4\uD83D"`, 1, 0},
		{`"` + strings.Repeat("x", 100) + `\n` + strings.Repeat("ü", 50) + `"`, 1, 0},
		{"\"\x7f\xff\xfe\"", 1, 0},
		{``, 0, 0},
		{` `, 0, 0},
		{`01`, 0, 0},
		{`-`, 0, 0},
		{`+1`, 0, 0},
		{`.5`, 0, 0},
		{`1.`, 0, 0},
		{`1e`, 0, 0},
		{`1e+`, 0, 0},
		{`0x1`, 0, 0},
		{`tru`, 0, 0},
		{`truE`, 0, 0},
		{`nul l`, 0, 0},
		{`NaN`, 0, 0},
		{`'a'`, 0, 0},
		{`"a`, 0, 0},
		{`"\x"`, 0, 0},
		{`"\u12"`, 0, 0},
		{`"\u123g"`, 0, 0},
		{"\"a\nb\"", 0, 0},
		{"\"\x00\"", 0, 0},
		{"\"1234567\x1f9\"", 0, 0},
		{`[`, 0, 0},
		{`[1`, 0, 0},
		{`[1,]`, 0, 0},
		{`[,1]`, 0, 0},
		{`[1 2]`, 0, 0},
		{`[1}`, 0, 0},
		{`{`, 0, 0},
		{`{"a"}`, 0, 0},
		{`{"a":}`, 0, 0},
		{`{"a":1,}`, 0, 0},
		{`{a:1}`, 0, 0},
		{`{"a":1]`, 0, 0},
		{`{1:1}`, 0, 0},
		{`{"a" 1}`, 0, 0},
		{`1 1`, 0, 0},
		{"\ufeff1", 0, 0},
		{strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000), 10_000, 10_000},
		{strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001), 0, 0},
	} {
		v, ok := scanned([]byte(row.text))
		if ok != (row.values > 0) || ok != json.Valid([]byte(row.text)) {
			t.Errorf("%.60q: JSON is %v, encoding/json says %v", row.text, ok, json.Valid([]byte(row.text)))
		}
		if ok && (v.values != row.values || v.depth != row.depth) {
			t.Errorf("%.60q: %d values, %d deep", row.text, v.values, v.depth)
		}
	}
}

func FuzzScan(f *testing.F) {
	for _, s := range []string{`{"a":[1,-2.5e3,true,null,"\u00e4\n"],"b":{}}`, "[1,[2,{\"x\":\"0123456789\\\"\"}]] ", "\"abc\x01\"", `[0`, `{"a":1,}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, ok := scanned(b)
		if want := json.Valid(b); ok != want {
			t.Fatalf("JSON is %v, encoding/json says %v", ok, want)
		}
		if v.from > v.to || v.to > len(b) {
			t.Fatalf("span %d to %d of %d bytes", v.from, v.to, len(b))
		}
		if ok {
			return
		}
		// What is salvaged of a broken value is JSON.
		var s scanner
		v, ok = s.value(b, space(b, 0))
		if !ok && s.whole > v.from {
			if part := s.closers(append([]byte(nil), b[v.from:s.whole]...), s.open); !json.Valid(part) {
				t.Fatalf("salvaged %q", part)
			}
		}
	})
}

func BenchmarkScan(b *testing.B) {
	body := []byte(`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web-1","labels":{"app":"web","tier":"front"},"annotations":{"note":"` + strings.Repeat("some words and ", 20) + `"}},` +
		`"spec":{"containers":[{"name":"web","image":"nginx:1.27","args":["--port","8080"],"resources":{"limits":{"cpu":"1","memory":"64Mi"}}}],"priority":0}}`)
	var s scanner
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := s.value(body, 0); !ok {
			b.Fatal("broken")
		}
	}
}
