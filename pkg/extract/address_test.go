package extract

import (
	"net/netip"
	"testing"
)

func TestParseIPv4(t *testing.T) {
	for _, text := range []string{
		"10.0.0.1", "0.0.0.0", "255.255.255.255", "192.0.2.7", "1.2.3", "1.2.3.4.5", "1.2.3.", ".1.2.3", "1..2.3", "256.1.1.1", "1.1.1.999",
		"01.2.3.4", "1.2.3.04", "00.0.0.0", "1.2.3.4 ", " 1.2.3.4", "1.2.3.x", "", ".", "...", "::1", "::ffff:10.0.0.1", "1.2.3.-4", "4294967296.1.1.1",
	} {
		want, err := netip.ParseAddr(text)
		got, ok := parseIPv4([]byte(text))
		if ok != (err == nil && want.Is4()) || ok && got != want {
			t.Errorf("%q: got %v, %t, netip says %v, %v", text, got, ok, want, err)
		}
	}
}

func FuzzParseIPv4(f *testing.F) {
	f.Add("10.0.0.1")
	f.Add("010.0.0.1")
	f.Fuzz(func(t *testing.T, text string) {
		want, err := netip.ParseAddr(text)
		got, ok := parseIPv4([]byte(text))
		if ok != (err == nil && want.Is4()) || ok && got != want {
			t.Errorf("%q: got %v, %t, netip says %v, %v", text, got, ok, want, err)
		}
	})
}
