package main

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// A layout is a folder in the form of the OCI image layout, with one repository in it.
type layout struct{ dir string }

// newLayout makes an empty one.
func newLayout(dir string) (layout, error) {
	l := layout{dir}
	if err := os.MkdirAll(filepath.Join(dir, v1.ImageBlobsDir, string(digest.SHA256)), 0o755); err != nil {
		return l, err
	}
	return l, l.write(v1.ImageLayoutFile, v1.ImageLayout{Version: v1.ImageLayoutVersion})
}

// write writes a JSON file.
func (l layout) write(name string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(l.dir, name), text, 0o644)
}

// blob adds content and returns what to call it by.
func (l layout) blob(mediaType string, content []byte) (v1.Descriptor, error) {
	d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}
	return d, os.WriteFile(filepath.Join(l.dir, v1.ImageBlobsDir, string(d.Digest.Algorithm()), d.Digest.Encoded()), content, 0o644)
}

// json adds a value as a JSON blob.
func (l layout) json(mediaType string, value any) (v1.Descriptor, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return l.blob(mediaType, text)
}

// manifest adds a manifest.
func (l layout) manifest(config, layer v1.Descriptor, annotations map[string]string) (v1.Descriptor, error) {
	return l.json(v1.MediaTypeImageManifest, v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
		Config: config, Layers: []v1.Descriptor{layer}, Annotations: annotations,
	})
}

// index adds a list of manifests, one a platform.
func (l layout) index(manifests []v1.Descriptor, annotations map[string]string) (v1.Descriptor, error) {
	return l.json(v1.MediaTypeImageIndex, v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: manifests, Annotations: annotations,
	})
}

// importedName is what containerd calls an image that it imports from an archive of the layout (containerd:
// core/images/annotations.go); Docker takes it, too. Without one, the image would have to be found by its digest.
const importedName = "io.containerd.image.name"

// tag names a manifest or list, and completes the layout. With a name, it is that of an image on machines that take the
// layout without a registry.
func (l layout) tag(root v1.Descriptor, tags []string, name string) error {
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex}
	for _, t := range tags {
		d := root
		d.Annotations = map[string]string{v1.AnnotationRefName: t}
		if name != "" {
			d.Annotations[importedName] = name + ":" + t
		}
		index.Manifests = append(index.Manifests, d)
	}
	return l.write(v1.ImageIndexFile, index)
}
