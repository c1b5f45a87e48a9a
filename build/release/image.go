package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"kaudit"
)

// image writes the layout of the container image: the libraries, the rules, the command and place, on nothing. The two
// programs are static; the libraries are for the Falco beside it.
func image(out string, id kaudit.Identity, rules ruleset, policy []byte, built []binaries) error {
	l, err := newLayout(filepath.Join(out, "oci", imageRepository))
	if err != nil {
		return err
	}
	var manifests []v1.Descriptor
	for _, b := range built {
		layer, err := archive([]file{
			{"etc/falco/" + rulesFile, 0o644, rules.text},
			{"etc/falco/" + policyFile, 0o644, policy},
			{"usr/bin/kaudit", 0o755, b.command},
			{"usr/bin/place", 0o755, b.place},
			{"usr/share/falco/plugins/" + jsonFile, 0o755, b.json},
			{"usr/share/falco/plugins/" + libraryFile, 0o755, b.library},
		})
		if err != nil {
			return err
		}
		plain, err := digestOfContent(layer)
		if err != nil {
			return err
		}
		platform := v1.Platform{OS: "linux", Architecture: b.arch}
		config, err := l.json(v1.MediaTypeImageConfig, v1.Image{
			Platform: platform,
			Config: v1.ImageConfig{
				User: "65532:65532", Env: []string{"PATH=/usr/bin"}, Entrypoint: []string{"/usr/bin/kaudit"},
				Labels: annotations(id, id.Description),
			},
			RootFS: v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{plain}},
		})
		if err != nil {
			return err
		}
		blob, err := l.blob(v1.MediaTypeImageLayerGzip, layer)
		if err != nil {
			return err
		}
		manifest, err := l.manifest(config, blob, annotations(id, id.Description))
		if err != nil {
			return err
		}
		manifest.Platform = &platform
		manifests = append(manifests, manifest)
	}
	index, err := l.index(manifests, annotations(id, id.Description))
	if err != nil {
		return err
	}
	return l.tag(index, tags(id.Version), "docker.io/library/kaudit") // which is what "kaudit" stands for
}

// digestOfContent returns the digest of an archive before compression.
func digestOfContent(zipped []byte) (digest.Digest, error) {
	r, err := gzip.NewReader(bytes.NewReader(zipped))
	if err != nil {
		return "", err
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		return "", err
	}
	return digest.FromBytes(plain), nil
}
