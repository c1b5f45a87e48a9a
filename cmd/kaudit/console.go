package main

import (
	"io"
	"os"
	"sync"

	"github.com/spf13/cobra"
)

// A console is where a command writes: its output to one side, and to the other notes, and on a terminal a line that
// tells how far it is. That line is wiped away before something else is written, for both sides may be one terminal.
type console struct {
	mu     sync.Mutex
	out    io.Writer
	errOut io.Writer
	status bool // the line is there
}

func consoleOf(c *cobra.Command) *console {
	return &console{out: c.OutOrStdout(), errOut: c.ErrOrStderr()}
}

// Write writes output.
func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wipe()
	return c.out.Write(b)
}

// notes returns where notes are written.
func (c *console) notes() io.Writer { return sideOf{c} }

type sideOf struct{ *console }

func (s sideOf) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wipe()
	return s.errOut.Write(b)
}

// show shows how far the command is.
func (c *console) show(status string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wipe()
	_, err := io.WriteString(c.errOut, status)
	c.status = err == nil && status != ""
}

func (c *console) wipe() {
	if c.status {
		c.status = false
		_, _ = io.WriteString(c.errOut, "\r\x1b[K") // if it cannot be wiped away it stays
	}
}

// isTerminal reports whether what is written there goes to a terminal that can wipe a line.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// colourful reports whether what is written there is read by a person who wants colours (no-color.org).
func colourful(w io.Writer) bool { return os.Getenv("NO_COLOR") == "" && isTerminal(w) }

// A painter gives texts colours, if they are wanted. Colours are SGR parameters (ECMA-48).
type painter bool

const (
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
	dim    = "2"
)

func (p painter) in(colour, text string) string {
	if !p {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}
