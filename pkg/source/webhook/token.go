package webhook

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"
)

// shortestToken keeps out what can be guessed. kubeadm's own are longer, and so is what openssl rand -hex 16 makes.
const shortestToken = 16

// A token is one line of a file of tokens. The token itself is not kept.
type token struct {
	sum  [sha256.Size]byte
	name string
}

// tokens are a file of bearer tokens that may be replaced while it is in use.
type tokens struct {
	log     *slog.Logger
	watched watched
	list    atomic.Pointer[[]token]

	read, failed atomic.Uint64
}

func newTokens(file string, log *slog.Logger) (*tokens, error) {
	t := &tokens{log: log, watched: watched{files: []string{file}}}
	contents, _, err := t.watched.read(time.Now())
	var list []token
	if err == nil {
		list, err = parseTokens(contents[0])
	}
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("%s has none, and nobody could send", file)
	}
	if err != nil {
		return nil, fmt.Errorf("webhookTokens: %w; write one token a line, and a name behind it if it is to have one", err)
	}
	t.list.Store(&list)
	return t, nil
}

// reload reads the file again if it changed. A file that cannot be used leaves the tokens as they are; one without
// tokens is taken at its word, but not while it may be half written.
func (t *tokens) reload(now time.Time) {
	contents, changed, err := t.watched.read(now)
	if err != nil || !changed {
		return
	}
	list, err := parseTokens(contents[0])
	if err != nil {
		t.failed.Add(1)
		t.log.Error("webhookTokens: what is new cannot be used, the tokens before stay", "error", err)
		return
	}
	if len(list) == 0 && t.watched.unsettled(now) {
		t.watched.forget() // it is being written, perhaps
		return
	}
	t.list.Store(&list)
	t.read.Add(1)
	t.log.Info("webhookTokens: read again", "tokens", len(list))
	if len(list) == 0 {
		t.log.Warn("webhookTokens: the file has no tokens; nobody can send with one")
	}
}

// find returns the name that belongs to a token, and whether it is one. It takes as long for one that nearly fits as
// for any other, and does not tell by its time which one it was.
func (t *tokens) find(presented string) (name string, ok bool) {
	sum := sha256.Sum256([]byte(presented))
	at := -1
	list := *t.list.Load()
	for i := range list {
		at = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(sum[:], list[i].sum[:]), i, at)
	}
	if at < 0 {
		return "", false
	}
	return list[at].name, true
}

// parseTokens reads a file of tokens: one a line, with a name behind it or without. Blank lines, and what begins with #,
// do not count. An error names the line and never what is in it.
func parseTokens(text []byte) ([]token, error) {
	list := []token{}
	for n, line := range bytes.Split(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), []byte("\n")) {
		words := strings.Fields(string(line))
		switch {
		case len(words) == 0 || strings.HasPrefix(words[0], "#"):
			continue
		case len(words) > 2:
			return nil, fmt.Errorf("line %d has more than a token and a name", n+1)
		case !isToken(words[0]):
			return nil, fmt.Errorf("line %d: a token has only letters, digits and -._~+/=", n+1)
		case len(words[0]) < shortestToken:
			return nil, fmt.Errorf("line %d: the token has fewer than %d characters; openssl rand -hex 32 makes a good one", n+1, shortestToken)
		}
		t := token{sum: sha256.Sum256([]byte(words[0]))}
		if len(words) == 2 {
			t.name = words[1]
		}
		list = append(list, t)
	}
	return list, nil
}

// isToken reports whether s may be sent as a bearer token (RFC 6750, b64token).
func isToken(s string) bool {
	body := strings.TrimRight(s, "=")
	for _, c := range []byte(body) {
		if !letterOrDigit(c) && strings.IndexByte("-._~+/", c) < 0 {
			return false
		}
	}
	return body != ""
}

func letterOrDigit(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// bearer returns the token of an Authorization header.
func bearer(headers []string) (string, bool) {
	if len(headers) != 1 {
		return "", false
	}
	scheme, token, ok := strings.Cut(headers[0], " ")
	return strings.TrimLeft(token, " "), ok && strings.EqualFold(scheme, "Bearer")
}
