package main

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
)

var fieldCount = regexp.MustCompile(`(?m)^fields: .*$`)

// countFields returns plugin.yaml with the number of fields in it.
func countFields(repo fs.FS, n int) ([]byte, error) {
	text, err := fs.ReadFile(repo, "plugin.yaml")
	if err != nil {
		return nil, err
	}
	if len(fieldCount.FindAllIndex(text, 2)) != 1 {
		return nil, errors.New("plugin.yaml needs one line that begins with \"fields: \"; the number of fields goes there")
	}
	return fieldCount.ReplaceAll(text, fmt.Appendf(nil, "fields: %d", n)), nil
}
