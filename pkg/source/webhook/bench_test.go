package webhook_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kaudit/internal/stream"
	"kaudit/pkg/audit"
	"kaudit/pkg/source"
	"kaudit/pkg/source/sourcetest"
	"kaudit/pkg/source/webhook"
)

// batch is what an API server posts: 400 events of the size they have on average.
func batch() []byte {
	var b bytes.Buffer
	b.WriteString(`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[`)
	for i := range 400 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"level":"RequestResponse","auditID":"%032d","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/shop/pods/web-%d","verb":"update","requestObject":{"pad":"%s"}}`, i, i, bytes.Repeat([]byte("x1 "), 780))
	}
	b.WriteString("]}")
	return b.Bytes()
}

// BenchmarkWebhook takes batches that another process posts, four at a time, on the same processors, and hands them to
// a sink that has everything at once, or to a stream that decodes them and is asked for what is ready. MB/s is with the
// sender; receiver-ns/op and sender-ns/op are what each needs of a processor, and receiver-MB/s what one processor
// receives if it does nothing else.
//
//	go test -run '^$' -bench Webhook -count 6 ./pkg/source/webhook
func BenchmarkWebhook(b *testing.B) {
	a := sourcetest.NewAuthority(b)
	for _, row := range []struct {
		name, scheme, protocol string
		run                    func(ctx context.Context, src source.Source) error
	}{
		{"plain", "http", "1", received}, {"tls", "https", "1", received}, {"tls-http2", "https", "2", received}, {"tls-http2-decoded", "https", "2", decoded},
	} {
		b.Run(row.name, func(b *testing.B) {
			src, err := webhook.Kind.Open(row.scheme+"://127.0.0.1:0", map[string]any{"sslCertificate": a.Server(b)}, source.Env{})
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(b.Context())
			result := make(chan error)
			go func() { result <- row.run(ctx, src) }()

			sender := exec.Command(os.Args[0], "-test.run", "TestSender")
			sender.Env = append(os.Environ(), senderKey+"="+row.protocol+" "+row.scheme+"://"+address(src)+" "+strconv.Itoa(b.N)+" "+sourcetest.WriteFile(b, "ca.crt", a.PEM))
			b.SetBytes(int64(len(batch())))
			before := used(b)
			b.ResetTimer()
			if out, err := sender.CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
			b.StopTimer()
			receiver := used(b) - before
			b.ReportMetric(float64(receiver)/float64(b.N), "receiver-ns/op")
			b.ReportMetric(float64(sender.ProcessState.UserTime()+sender.ProcessState.SystemTime())/float64(b.N), "sender-ns/op")
			b.ReportMetric(float64(len(batch()))*float64(b.N)/1e6/receiver.Seconds(), "receiver-MB/s")
			cancel()
			<-result
		})
	}
}

func received(ctx context.Context, src source.Source) error { return src.Run(ctx, null{}) }

func decoded(ctx context.Context, src source.Source) error {
	s := stream.Open(src, stream.Config{NewBatch: func() stream.Batch { return new(counted) }})
	for ctx.Err() == nil {
		s.Next(10 * time.Millisecond)
	}
	s.Close()
	return nil
}

// counted is a batch that copies what comes, as the host's does, over what was there before.
type counted struct {
	n   int
	buf []byte
}

func (c *counted) Add(e *audit.Event, _ time.Time) bool {
	if len(c.buf) > 512<<10 {
		return false
	}
	c.n++
	c.buf = e.AppendTo(c.buf)
	return true
}
func (c *counted) Len() int { return c.n }
func (c *counted) Reset()   { c.n, c.buf = 0, c.buf[:0] }
func (c *counted) Free()    {}

// used returns how much of processors this process has used.
func used(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// senderKey is set for the process that sends in BenchmarkWebhook: protocol, address, how many batches, authority.
const senderKey = "KAUDIT_WEBHOOK_SENDER"

func TestSender(t *testing.T) {
	words := strings.Fields(os.Getenv(senderKey))
	if len(words) == 0 {
		t.Skip("this is the other process of BenchmarkWebhook")
	}
	n, err := strconv.Atoi(words[2])
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(words[3])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: words[0] == "2", MaxIdleConnsPerHost: 8, WriteBufferSize: 64 << 10,
	}}
	body := batch()
	var senders sync.WaitGroup
	work := make(chan struct{})
	for range 4 {
		senders.Go(func() {
			for range work {
				resp, err := client.Post(words[1], "application/json", bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					continue
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode != 200 {
					t.Errorf("status %d", resp.StatusCode)
				}
			}
		})
	}
	for range n {
		work <- struct{}{}
	}
	close(work)
	senders.Wait()
}
