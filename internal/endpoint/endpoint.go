// Package endpoint shows the plugin's metrics to Prometheus.
package endpoint

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"kaudit/internal/metric"
)

const (
	// Prometheus asks one at a time, and perhaps a second one does. Whoever else can reach the address must not be able to
	// hold more than this.
	maxConnections = 32
	maxRequests    = 4
	patience       = 5 * time.Second
	idle           = time.Minute
)

// Readings calls yield for each metric there is, by the name the plugin counts it under.
type Readings func(yield func(name string, n uint64))

// Config is what an endpoint is made of.
type Config struct {
	// Listen is where, as host:port.
	Listen string
	// Read reads the metrics, from any goroutine.
	Read Readings
	// Clusters are the clusters that sources are for, by the sources' names.
	Clusters map[string]string
	// Log takes what an operator should know.
	Log *slog.Logger
}

// An Endpoint is a listening address at which metrics are read.
type Endpoint struct {
	server   *http.Server
	listener net.Listener
	done     chan struct{}
	serving  sync.RWMutex // held by each request, and for good when the endpoint is closed
	closed   bool
}

// Open listens. What is read is at /metrics.
func Open(cfg Config) (*Endpoint, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{cfg})
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: maxRequests,
		ErrorLog:            slog.NewLogLogger(cfg.Log.Handler(), slog.LevelError),
	}))
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("metricsListen: %w", err)
	}
	e := &Endpoint{listener: l, done: make(chan struct{})}
	e.server = &http.Server{
		Handler:           e.whileOpen(mux),
		ReadHeaderTimeout: patience,
		ReadTimeout:       patience,
		WriteTimeout:      2 * patience,
		IdleTimeout:       idle,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // what senders do wrong
	}
	go func() {
		defer close(e.done)
		if err := e.server.Serve(netutil.LimitListener(l, maxConnections)); err != http.ErrServerClosed {
			cfg.Log.Error("metrics are not shown any more", "listen", cfg.Listen, "error", err)
		}
	}()
	return e, nil
}

// Addr returns where it listens.
func (e *Endpoint) Addr() net.Addr { return e.listener.Addr() }

// whileOpen serves requests until the endpoint is closed. The server itself does not wait for them.
func (e *Endpoint) whileOpen(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		e.serving.RLock()
		defer e.serving.RUnlock()
		if !e.closed {
			h.ServeHTTP(w, req)
		}
	})
}

// Close ends the endpoint. When it returns, its port is free and nobody reads metrics.
func (e *Endpoint) Close() error {
	err := e.server.Close()
	<-e.done
	e.serving.Lock()
	defer e.serving.Unlock()
	e.closed = true
	return err
}

// A collector makes Prometheus's metrics of readings.
type collector struct{ Config }

// Describe implements [prometheus.Collector]. Saying nothing means that metrics may come and go, as sources do.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (c collector) Collect(to chan<- prometheus.Metric) {
	defer func() {
		if p := recover(); p != nil { // it is called on a goroutine of the registry, and would end the host
			c.Log.Error("reading metrics failed inside", "panic", p)
		}
	}()
	c.Read(func(name string, n uint64) {
		place := metric.Find(name)
		var labels, values []string
		label := func(name, value string) { labels, values = append(labels, name), append(values, value) }
		if place.Source != "" {
			label("source", place.Source)
			label("cluster", c.Clusters[place.Source])
		}
		if place.Reason != "" {
			label("reason", place.Reason)
		}
		kind := prometheus.CounterValue
		if place.Gauge {
			kind = prometheus.GaugeValue
		}
		family, per := place.Prometheus()
		m, err := prometheus.NewConstMetric(prometheus.NewDesc(family, place.Doc, labels, nil), kind, float64(n)/per, values...)
		if err != nil {
			m = prometheus.NewInvalidMetric(prometheus.NewDesc(family, place.Doc, nil, nil), err)
		}
		to <- m
	})
}
