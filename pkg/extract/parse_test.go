package extract

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	distribution "github.com/distribution/reference"
)

func TestAnImageIsTakenApart(t *testing.T) {
	for _, row := range []struct{ image, registry, name, repository, tag, digest string }{
		{"nginx", "docker.io", "docker.io/library/nginx", "nginx", "latest", ""},
		{"nginx:1.27", "docker.io", "docker.io/library/nginx", "nginx", "1.27", ""},
		{"bitnami/nginx", "docker.io", "docker.io/bitnami/nginx", "bitnami/nginx", "latest", ""},
		{"docker.io/nginx", "docker.io", "docker.io/library/nginx", "docker.io/nginx", "latest", ""},
		{"index.docker.io/library/nginx:1", "docker.io", "docker.io/library/nginx", "index.docker.io/library/nginx", "1", ""},
		{"quay.io/a/b/c:v1", "quay.io", "quay.io/a/b/c", "quay.io/a/b/c", "v1", ""},
		{"reg.example.com:5000/shop/web:1.2", "reg.example.com:5000", "reg.example.com:5000/shop/web", "reg.example.com:5000/shop/web", "1.2", ""},
		{"reg.example.com:5000/web", "reg.example.com:5000", "reg.example.com:5000/web", "reg.example.com:5000/web", "latest", ""},
		{"localhost/web", "localhost", "localhost/web", "localhost/web", "latest", ""},
		{"localhost:5000/web", "localhost:5000", "localhost:5000/web", "localhost:5000/web", "latest", ""},
		{"host:5000", "docker.io", "docker.io/library/host", "host", "5000", ""},
		{"[::1]:5000/web", "[::1]:5000", "[::1]:5000/web", "[::1]:5000/web", "latest", ""},
		{"Upper/web", "Upper", "Upper/web", "Upper/web", "latest", ""},
		{"nginx@sha256:00", "docker.io", "docker.io/library/nginx", "nginx", "", "sha256:00"},
		{"nginx:1.27@sha256:00", "docker.io", "docker.io/library/nginx", "nginx", "1.27", "sha256:00"},
		{" nginx \n", "docker.io", "docker.io/library/nginx", "nginx", "latest", ""},
	} {
		im := parseImage([]byte(row.image))
		if string(im.registry) != row.registry || string(im.appendName(nil)) != row.name || string(im.repository) != row.repository || string(im.tag) != row.tag || string(im.digest) != row.digest {
			t.Errorf("%q: registry %s, name %s, repository %s, tag %s, digest %s", row.image, im.registry, im.appendName(nil), im.repository, im.tag, im.digest)
		}
	}
}

// FuzzImage compares with what the container world reads an image reference with, where that takes it.
func FuzzImage(f *testing.F) {
	for _, s := range []string{"nginx", "a/b:c", "reg.example.com:5000/shop/web:1.2@sha256:" + strings.Repeat("0", 64), "localhost/x", "index.docker.io/x", "[::1]:5000/x", "A/b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		im := parseImage([]byte(s))
		for _, part := range [][]byte{im.registry, im.path, im.repository, im.tag, im.digest, im.appendName(nil)} {
			_ = string(part)
		}
		ref, err := distribution.ParseDockerRef(s)
		// A domain with an underscore is none to Domain, and is one all the same.
		if err != nil || strings.TrimSpace(s) != s || distribution.Domain(ref) == "" {
			return
		}
		// ParseDockerRef leaves the tag out where there is a digest; it stands in the text all the same.
		named, err := distribution.ParseNormalizedNamed(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(im.appendName(nil)); got != ref.Name() {
			t.Fatalf("%q: name %s, want %s", s, got, ref.Name())
		}
		if got := string(im.registry); got != distribution.Domain(ref) {
			t.Fatalf("%q: registry %s, want %s", s, got, distribution.Domain(ref))
		}
		digest, tag := "", ""
		if d, ok := named.(distribution.Digested); ok {
			digest = d.Digest().String()
		}
		if d, ok := named.(distribution.Tagged); ok {
			tag = d.Tag()
		} else if digest == "" {
			tag = "latest"
		}
		if string(im.digest) != digest || string(im.tag) != tag {
			t.Fatalf("%q: tag %s and digest %s, want %s and %s", s, im.tag, im.digest, tag, digest)
		}
	})
}

func TestAQueryIsDecodedAsTheAPIServerDecodesIt(t *testing.T) {
	for _, row := range []struct{ uri, want string }{
		{"/a", ""},
		{"/a?", ""},
		{"/a?b", "b="},
		{"/a?b=c&b=d&e=f", "b=c|b=d|e=f"},
		{"/a?=b", "=b"},
		{"/a?b=c=d?e", "b=c=d?e"},
		{"/a?&&b=c&", "b=c"},
		{"/a?b+c=d%20e%2Ff", "b c=d e/f"},
		{"/a?b=%zz&c=d", "c=d"},
		{"/a?b=%4&c=d", "c=d"},
		{"/a?%zz=b&c=d", "c=d"},
		{"/a?b=%41%zz&c=d", "c=d"},
		{"/a?b;c=d&e=f", "e=f"},
		{"/a?b=%3B", "b=;"},
	} {
		var q query
		q.parse([]byte(row.uri))
		var got []string
		for _, p := range q.pairs {
			got = append(got, string(p.key)+"="+string(p.value))
		}
		if s := strings.Join(got, "|"); s != row.want {
			t.Errorf("%s: got %s, want %s", row.uri, s, row.want)
		}
	}
}

// FuzzQuery compares with net/url, by which the API server reads queries.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"command=sh&command=-c&stdin=true", "a=%20+b&%zz=c&d;e&=f&&g", "%", "a=b%3d%26;"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var q query
		q.parse([]byte("/x?" + s))
		want, _ := url.ParseQuery(s)
		got := url.Values{}
		for _, p := range q.pairs {
			got.Add(string(p.key), string(p.value))
		}
		if len(got) != len(want) {
			t.Fatalf("got %q, want %q", got, want)
		}
		for key, values := range want {
			if !slices.Equal(got[key], values) {
				t.Fatalf("%q: got %q, want %q", key, got[key], values)
			}
			if v, ok := q.first(key); !ok || string(v) != values[0] {
				t.Fatalf("%q: first is %q, want %q", key, v, values[0])
			}
		}
	})
}
