package audit_test

import (
	"testing"
	"time"

	"kaudit/pkg/audit"
)

type names struct {
	list     []string
	rejected []audit.Reason
}

func (n *names) Event(e *audit.Event, stamp time.Time, marks audit.Marks) {
	name := string(e.NoticeName())
	if marks != 0 || e.IsNotice() != (name != "") {
		name += "?"
	}
	n.list = append(n.list, name+stamp.UTC().Format(" 15:04:05"))
}

func (n *names) Rejected(why audit.Reason, _, _ int) { n.rejected = append(n.rejected, why) }

// Only who asks for notices gets them, and an audit event is none, whatever it says of itself.
func TestNotices(t *testing.T) {
	const payload = `{"kind":"Notice","apiVersion":"kaudit/v1","name":"events_lost","time":"2026-01-01T00:00:01Z"}
{"name":"spool_full","apiVersion":"kaudit/v1","kind":"Notice"}
{"kind":"Notice","apiVersion":"kaudit/v2","name":"events_lost"}
{"kind":"Event","apiVersion":"kaudit/v1","name":"events_lost"}
{"kind":"Notice","apiVersion":"kaudit/v1","name":"events_lost","auditID":"1","stageTimestamp":"2026-01-01T00:00:02Z"}`
	for _, tt := range []struct {
		notices  bool
		want     []string
		rejected int
	}{
		{false, []string{" 00:00:02"}, 4},
		{true, []string{"events_lost 00:00:01", "spool_full 00:00:09", " 00:00:02"}, 2},
	} {
		var got names
		d := audit.Decoder{Notices: tt.notices, Cluster: "c", Now: func() time.Time { return time.Date(2026, 1, 1, 0, 0, 9, 0, time.UTC) }}
		d.Decode([]byte(payload), true, &got)
		if len(got.rejected) != tt.rejected || len(got.list) != len(tt.want) {
			t.Fatalf("notices %t: got %q, %d rejected; want %q, %d", tt.notices, got.list, len(got.rejected), tt.want, tt.rejected)
		}
		for i := range tt.want {
			if got.list[i] != tt.want[i] {
				t.Errorf("notices %t: event %d is %q, want %q", tt.notices, i, got.list[i], tt.want[i])
			}
		}
	}
}
