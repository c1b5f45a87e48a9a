package webhook

import (
	"crypto"
	"crypto/tls"
	"io"
	"sync"
)

// A gate lets only so many handshakes compute at once, so that those who are through already do not wait behind
// thousands that begin. Nobody who waits for a peer is inside.
type gate chan struct{}

// enter is called when a handshake has its first message and is about to compute. What it returns is for that handshake
// alone: the key it signs with opens the gate for the next one, and so does the end of the connection.
func (g gate) enter(hello *tls.ClientHelloInfo, config *tls.Config) (*tls.Config, error) {
	one, ok := hello.Context().Value(connectionKey{}).(*connection)
	if !ok {
		return config, nil
	}
	select {
	case g <- struct{}{}:
	case <-hello.Context().Done():
		return nil, hello.Context().Err()
	}
	leave := sync.OnceFunc(func() { <-g })
	if !one.inside(leave) {
		leave()
	}
	config = config.Clone()
	pair := config.Certificates[0]
	pair.PrivateKey = signer{pair.PrivateKey.(crypto.Signer), leave}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

// A signer calls then when it has signed, which is the last of what costs.
type signer struct {
	crypto.Signer
	then func()
}

func (s signer) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	defer s.then()
	return s.Signer.Sign(rand, digest, opts)
}
