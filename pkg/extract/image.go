package extract

import "bytes"

// An image is a container image reference taken apart as the container world does
// (github.com/distribution/reference: reference.go, normalize.go): [domain[:port]/]path[:tag][@digest].
type image struct {
	registry   []byte // "docker.io" where the reference names none
	path       []byte // without registry, tag and digest; "library/nginx" for "nginx"
	library    bool   // "library/" stands before path, in Docker Hub's manner
	repository []byte // as written, without tag and digest: what the official field means
	tag        []byte // "latest" where the reference has neither tag nor digest
	digest     []byte // "sha256:…"
}

var (
	dockerHub = []byte("docker.io")
	latest    = []byte("latest")
)

func parseImage(s []byte) image {
	im := image{registry: dockerHub}
	s = bytes.TrimSpace(s)
	if i := bytes.IndexByte(s, '@'); i >= 0 {
		s, im.digest = s[:i], s[i+1:]
	}
	if i := bytes.LastIndexByte(s, ':'); i > bytes.LastIndexByte(s, '/') {
		s, im.tag = s[:i], s[i+1:]
	} else if im.digest == nil {
		im.tag = latest
	}
	im.repository, im.path = s, s
	i := bytes.IndexByte(s, '/')
	// The first part is a registry if it cannot be a path: it has a dot or a port, is localhost, or has a capital.
	if i > 0 && (bytes.ContainsAny(s[:i], ".:") || string(s[:i]) == "localhost" || hasCapital(s[:i])) {
		im.registry, im.path = s[:i], s[i+1:]
		if string(im.registry) == "index.docker.io" {
			im.registry = dockerHub
		}
	}
	im.library = string(im.registry) == string(dockerHub) && bytes.IndexByte(im.path, '/') < 0
	return im
}

// appendName appends the repository with everything that is implied: "docker.io/library/nginx" for "nginx".
func (im *image) appendName(dst []byte) []byte {
	dst = append(dst, im.registry...)
	dst = append(dst, '/')
	if im.library {
		dst = append(dst, "library/"...)
	}
	return append(dst, im.path...)
}

func hasCapital(s []byte) bool {
	for _, c := range s {
		if 'A' <= c && c <= 'Z' {
			return true
		}
	}
	return false
}
