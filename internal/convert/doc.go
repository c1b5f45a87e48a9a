// Package convert rewrites rules that were written for the official plugin, and so ask the json plugin for some fields
// (jevt.*, json.*), to ask this plugin alone. It edits the text of the files: comments and layout stay.
package convert
