// Package audit is the wire format: what arrives from a Kubernetes API server, or from whatever carried its audit
// events on the way, and how to read it.
//
// A [Decoder] splits a payload into events, and marks, cuts or salvages those that need it. An [Event] is one of
// them: its members are found at once and parsed only when somebody asks. A [Node] is a value inside it.
//
// The format is audit.k8s.io/v1 (kubernetes/apiserver: pkg/apis/audit/v1/types.go) and its two predecessors,
// v1beta1 and v1alpha1. This is the only package that knows the JSON library.
package audit
