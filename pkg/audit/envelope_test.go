package audit_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"kaudit/pkg/audit"
)

// quote makes a JSON string of a text.
func quote(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func zipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(text))
	w.Close()
	return b.String()
}

func coded(text string) string { return quote(base64.StdEncoding.EncodeToString([]byte(text))) }

// The shapes are those of the senders' own documentation. What Fluent Bit, Fluentd and syslog-ng really send is in
// testdata/collectors, and the webhook's tests post it.
func TestEventsAreTakenOutOfEnvelopes(t *testing.T) {
	a, b, c := ev("a"), ev("b"), ev("c")
	cloudwatch := `{"messageType":"DATA_MESSAGE","owner":"123456789012","logGroup":"/aws/eks/x/cluster","logStream":"kube-apiserver-audit-1","subscriptionFilters":["f"],"logEvents":[` +
		`{"id":"1","timestamp":1730000000000,"message":` + quote(a) + `},{"id":"2","timestamp":1730000000001,"message":` + quote(b) + `}]}`
	control := `{"messageType":"CONTROL_MESSAGE","logEvents":[{"id":"","timestamp":1,"message":"CWL CONTROL MESSAGE: Checking health of destination Firehose."}]}`
	azure := func(category, log string) string {
		return `{"time":"2026-01-02T03:04:05Z","resourceId":"/SUBSCRIPTIONS/x","category":"` + category +
			`","operationName":"Microsoft.ContainerService/managedClusters/diagnosticLogs/Read","properties":{"log":` + quote(log) + `,"stream":"stdout","pod":"kube-apiserver-1","containerID":"x"}}`
	}
	for _, row := range []struct{ what, payload, want string }{
		{"Fluent Bit, json", `[{"date":1730000000.1,"log":` + quote(a) + `},{"date":1730000000.2,"log":` + quote(b) + `}]`, "a,b"},
		{"Fluent Bit, json_lines", `{"date":1730000000.1,"log":` + quote(a) + "}\n" + `{"date":1730000000.2,"log":` + quote(b) + "}\n", "a,b"},
		{"Fluent Bit, json_stream", `{"date":1.1,"log":` + quote(a) + `}{"date":1.2,"log":` + quote(b) + `}`, "a,b"},
		{"Fluent Bit, parsed", `[{"date":1730000000.1,` + a[1:] + "]", "a"},
		{"Fluent Bit, a container's log", `[{"date":1.1,"log":` + quote(a+"\n") + `,"stream":"stdout","kubernetes":{"pod_name":"kube-apiserver-1","labels":{"log":"x"}}}]`, "a"},
		{"Fluentd, a line each", `{"message":` + quote(a) + "}\n" + `{"message":` + quote(b) + "}\n", "a,b"},
		{"Fluentd, json_array", `[{"message":` + quote(a) + `},{"message":` + quote(b) + `}]`, "a,b"},
		{"Vector", `[{"file":"/var/log/audit.log","host":"cp-1","message":` + quote(a) + `,"source_type":"file","timestamp":"2026-01-02T03:04:05Z"}]`, "a"},
		{"Vector, with the event parsed into a member", `[{"message":` + a + `,"source_type":"file"}]`, "a"},
		{"Filebeat, with objects of its own under known names", `{"@timestamp":"2026-01-02T03:04:05Z","log":{"offset":17,"file":{"path":"/var/log/audit.log"}},"event":{"dataset":"generic"},"message":` + quote(a) + `}`, "a"},
		{"Splunk HEC", `{"time":1,"host":"h","event":` + a + `}{"time":2,"host":"h","event":` + quote(b) + `}`, "a,b"},
		{"the journal", `{"__CURSOR":"s=1","MESSAGE":` + quote(a) + `,"PRIORITY":"6"}`, "a"},
		{"OpenShift", `{"@timestamp":"x","log_type":"audit","structured":` + a + `}`, "a"},
		{"OpenTelemetry", `{"body":` + quote(a) + `,"severity":"INFO"}`, "a"},
		{"GELF", `{"version":"1.1","host":"h","short_message":` + quote(a[:20]) + `,"full_message":` + quote(b) + `}`, "b"},
		{"GELF, short", `{"version":"1.1","host":"h","short_message":` + quote(a) + `}`, "a"},
		{"Azure Monitor", `{"records":[` + azure("kube-audit", a+"\n") + "," + azure("kube-apiserver", "I0102 03:04:05 klog") + "," + azure("kube-audit-admin", b) + `]}`, "a,! not an audit event,b"},
		{"Azure Monitor, cut at 16 KiB", `{"records":[` + azure("kube-audit", `{"auditID":"x","verb":"get","requestURI":"/api/v`) + "," + azure("kube-audit", b) + `]}`, "x salvaged untimed(truncated),b"},
		{"Azure Monitor, a line in a blob", azure("kube-audit", a) + "\n" + azure("kube-audit", b) + "\n", "a,b"},
		{"CloudWatch", cloudwatch, "a,b"},
		{"CloudWatch, a truncated event", `{"logEvents":[{"id":"1","message":` + quote(`{"auditID":"x","verb":"ge[Truncated...]`) + `}]}`, "x salvaged untimed(truncated)"},
		{"Firehose", `{"requestId":"r","timestamp":1,"records":[{"data":` + coded(zipped(cloudwatch)) + `},{"data":` + coded(zipped(control)) + `},{"data":` + coded(c+"\n") + `}]}`, "a,b,! not an audit event,c"},
		{"Pub/Sub, pushed", `{"message":{"data":` + coded(a) + `,"messageId":"1","publishTime":"2026-01-02T03:04:05Z","attributes":{}},"subscription":"projects/p/subscriptions/s"}`, "a"},
		{"a list in an envelope", `{"log":` + quote(`{"kind":"EventList","items":[`+a+","+b+`]}`) + `}`, "a,b"},
		{"a list as an object in an envelope", `{"message":{"kind":"EventList","items":[` + a + "," + b + `]}}`, "a,b"},
		{"lines in an envelope", `{"log":` + quote(a+"\n"+b+"\n") + `}`, "a,b"},
		{"an envelope in an envelope", `{"message":` + quote(`{"log":`+quote(a)+`}`) + `}`, "a"},
		{"escapes in the name of an envelope", `{"\u006cog":` + quote(a) + `}`, "a"},
		{"an envelope twice: the last one counts", `{"log":` + quote(a) + `,"log":` + quote(b) + `}`, "b"},

		{"text", `{"log":"hello"}`, "! not an audit event"},
		{"text that begins like a list", `{"log":"[INFO] hello"}`, "! not an audit event"},
		{"no text at all", `{"log":null,"message":17,"event":true,"body":"","data":"","records":[]}`, "! not an audit event"},
		{"an object that is no event", `{"log":` + quote(`{"level":"info"}`) + `}`, "! not an audit event"},
		{"what is no base64", `{"data":` + quote(a) + `}`, "! not an audit event"},
		{"what is no gzip", `{"data":` + coded("\x1f\x8bnonsense") + `}`, "! not an audit event"},
		{"an envelope that breaks", `{"log":` + quote(a) + `,!}` + "\n" + b, "! broken JSON,b"},

		// What users wrote is theirs, whatever it looks like.
		{"an event with an envelope beside", `{"auditID":"a","stageTimestamp":"2026-01-02T03:04:05Z","log":` + quote(b) + `,"message":` + c + `}`, "a"},
		{"an event with an envelope inside", `{"auditID":"a","stageTimestamp":"2026-01-02T03:04:05Z","requestObject":{"log":` + quote(b) + `,"message":` + c + `}}`, "a"},
		{"an event of Kubernetes, whose message anybody writes", `{"kind":"Event","apiVersion":"v1","message":` + quote(b) + `}`, "! not an audit event"},
		{"an item that is an envelope", `{"kind":"EventList","items":[{"log":` + quote(b) + `},` + a + `]}`, "! not an audit event,a"},
		{"an envelope behind what broke", `[{"auditID":"x","requestObject":{"list":[!,{"kind":"User","log":` + quote(b) + `}]}},` + a + `]`, "x salvaged untimed(broken),! not an audit event,a"},
		{"too many envelopes", nested(a, 7), "! not an audit event"},
		{"as many as may be", nested(a, 6), "a"},
	} {
		t.Run(row.what, func(t *testing.T) {
			d := new(audit.Decoder)
			for range 2 { // the second time with what the first left behind
				if got := strings.Join(decoded(t, d, row.payload, false).said, ","); got != row.want {
					t.Errorf("%q\n got %s\nwant %s", row.payload, got, row.want)
				}
			}
		})
	}
}

// nested puts a text into n envelopes.
func nested(text string, n int) string {
	for range n {
		text = `{"log":` + quote(text) + `}`
	}
	return text
}

// However much a payload's gzip would become, only so much is read.
func TestEnvelopesExpandSoFar(t *testing.T) {
	bomb := `{"data":` + coded(zipped(ev("a")+strings.Repeat(" ", 40<<20)+ev("b"))) + `}`
	d := new(audit.Decoder)
	began := time.Now()
	got := decoded(t, d, "["+strings.Repeat(bomb+",", 50)+ev("c")+"]", false).said
	// The first is read whole, the second up to the bound, and of the others nothing.
	want := []string{"a", "b", "a"}
	for range 48 {
		want = append(want, "! not an audit event")
	}
	if want = append(want, "c"); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	if got := decoded(t, d, bomb, false).said; !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("the next payload: %q", got)
	}
}
