package webhook

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"kaudit/pkg/source"
	"kaudit/pkg/source/sourcetest"
)

// opened returns a receiver that does not run, and what it notifies of.
func opened(t *testing.T, scheme string, settings map[string]any) (*receiver, *[]source.Notice) {
	t.Helper()
	notices := new([]source.Notice)
	src, err := Kind.Open(scheme+"://127.0.0.1:0", settings, source.Env{
		Log:    slog.New(slog.NewTextHandler(t.Output(), nil)),
		Notify: func(n source.Notice) { *notices = append(*notices, n) },
	})
	if err != nil {
		t.Fatal(err)
	}
	r := src.(*receiver)
	t.Cleanup(func() { r.Close() })
	return r, notices
}

// A certificate is told of when it comes to its end: at each step once, however often one looks.
func TestExpiry(t *testing.T) {
	a := sourcetest.NewAuthority(t)
	begin := time.Now().Add(-time.Hour).Truncate(time.Second)
	const day = 24 * time.Hour
	for _, row := range []struct {
		life time.Duration
		left []time.Duration // when it is told, and not before
	}{
		{365 * day, []time.Duration{30 * day, 7 * day, day, 0}},
		{90 * day, []time.Duration{90 * day / 4, 7 * day, day, 0}},
		{8 * day, []time.Duration{2 * day, day, day / 2, 0}},
		{day, []time.Duration{6 * time.Hour, 3 * time.Hour, 90 * time.Minute, 0}},
	} {
		cert, key := a.Issue(t, x509.Certificate{NotBefore: begin, NotAfter: begin.Add(row.life)})
		file := sourcetest.WriteFile(t, "tls.pem", append(cert, key...))
		r, notices := opened(t, "https", map[string]any{"sslCertificate": file})
		end := begin.Add(row.life)
		for i, left := range row.left {
			r.look(end.Add(-left - time.Second))
			if len(*notices) != i {
				t.Errorf("%v: told %d times before %v are left: %v", row.life, len(*notices), left, *notices)
			}
			r.look(end.Add(-left))
			r.look(end.Add(-left))
			if len(*notices) != i+1 {
				t.Errorf("%v: told %d times when %v are left: %v", row.life, len(*notices), left, *notices)
			}
		}
		for _, n := range *notices {
			if n.Name != source.CertificateExpiring || n.Source != r.source || n.Count != 1 || !strings.Contains(n.Message, end.UTC().Format(time.RFC3339)) {
				t.Errorf("the notice is %+v", n)
			}
		}
		// One that is put in its place is another.
		cert, key = a.Issue(t, x509.Certificate{NotBefore: end, NotAfter: end.Add(row.life)})
		if err := os.WriteFile(file, append(cert, key...), 0o600); err != nil {
			t.Fatal(err)
		}
		r.look(end.Add(time.Second))
		if len(*notices) != len(row.left) {
			t.Errorf("%v: the new certificate is told of: %v", row.life, (*notices)[len(row.left):])
		}
		r.look(end.Add(row.life))
		if n := (*notices)[len(*notices)-1]; len(*notices) != len(row.left)+1 || !strings.Contains(n.Message, "has ended") {
			t.Errorf("%v: of the new certificate's end is told %v", row.life, *notices)
		}
	}
}

// Failed authentications are told of at once, and then a minute's together.
func TestFailuresAreToldTogether(t *testing.T) {
	r, notices := opened(t, "http", nil)
	now := time.Now()
	fail := func(n int) {
		for range n {
			r.refusals.note(r.log, unauthenticated, "from", "test")
		}
	}
	told := func(want ...uint64) {
		t.Helper()
		var counts []uint64
		for _, n := range *notices {
			if n.Name != source.AuthFailures {
				t.Errorf("told of %s", n.Name)
			}
			counts = append(counts, n.Count)
		}
		if fmt.Sprint(counts) != fmt.Sprint(want) {
			t.Errorf("told of %v, want %v", counts, want)
		}
	}
	r.look(now)
	told()
	fail(3)
	r.look(now)
	told(3)
	fail(2)
	r.look(now.Add(repeat - time.Second))
	told(3)
	fail(1)
	r.refusals.note(r.log, full, "from", "test") // is none
	r.look(now.Add(repeat))
	told(3, 3)
	r.look(now.Add(10 * repeat))
	told(3, 3)
}

func FuzzTokens(f *testing.F) {
	f.Add([]byte("0123456789abcdef name\n# comment\n\nfedcba9876543210\r\n"))
	f.Add([]byte("\xef\xbb\xbf0123456789abcdef=="))
	f.Add([]byte("0123456789abcdef a b\n"))
	f.Add([]byte("short"))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := parseTokens(text)
		if err != nil {
			for _, word := range bytes.Fields(text) {
				if len(word) > 12 && strings.Contains(err.Error(), string(word)) {
					t.Fatalf("the error repeats %q: %v", word, err)
				}
			}
			return
		}
		tokens := tokens{}
		tokens.list.Store(&list)
		good := map[string]bool{}
		for line := range bytes.Lines(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))) {
			if words := strings.Fields(string(line)); len(words) > 0 && words[0][0] != '#' {
				good[words[0]] = true
				if name, ok := tokens.find(words[0]); !ok || name != "" && len(words) < 2 {
					t.Fatalf("%q is no token, or named %q", words[0], name)
				}
			}
		}
		for _, word := range append(strings.Fields(string(text)), "", "#", string(text)) {
			if _, ok := tokens.find(word); ok != good[word] {
				t.Fatalf("%q is a token: %v", word, ok)
			}
		}
	})
}

func FuzzName(f *testing.F) {
	for _, s := range []string{"prod-eu", "", "-a", "a_b.c", "a/b", "a\x00", "ä", strings.Repeat("a", 254), "a\n"} {
		f.Add(s)
	}
	name := regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9._]{0,251}[A-Za-z0-9])?\z`)
	f.Fuzz(func(t *testing.T, s string) {
		if isName(s) != name.MatchString(s) {
			t.Fatalf("%q is a name: %v", s, isName(s))
		}
	})
}

// However authorization is written, a token is found only where it is one.
func FuzzBearer(f *testing.F) {
	const secret = "0123456789abcdef"
	for _, h := range []string{"Bearer " + secret, "bearer  " + secret, "Basic " + secret, "Bearer", "", "Bearer " + secret + " ", secret} {
		f.Add(h)
	}
	tokens := tokens{}
	list := []token{{sum: sha256.Sum256([]byte(secret))}}
	tokens.list.Store(&list)
	f.Fuzz(func(t *testing.T, header string) {
		presented, ok := bearer([]string{header})
		if !ok {
			return
		}
		_, ok = tokens.find(presented)
		if want := regexp.MustCompile(`^(?i:bearer) +` + secret + `\z`).MatchString(header); ok != want {
			t.Fatalf("%q lets in: %v", header, ok)
		}
	})
}
