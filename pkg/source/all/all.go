// Package all lists the kinds of sources there are. A new kind is one more line here.
package all

import (
	"kaudit/pkg/source"
	"kaudit/pkg/source/file"
	"kaudit/pkg/source/tail"
	"kaudit/pkg/source/webhook"
)

// Kinds returns every kind of source, in the order docs show them. The slice is the caller's own.
func Kinds() []source.Kind {
	return []source.Kind{
		webhook.Kind,
		tail.Kind,
		file.Kind,
	}
}
