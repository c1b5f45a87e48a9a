package extract

import "kaudit/pkg/audit"

// What a notice says: an asynchronous event about delivery itself.
var noticeFields = Table{
	{"ka.notice", "Name of the notice, as in evt.asynctype: source_silent, events_lost, spool_full, auth_failures, certificate_expiring.", NoArg, "", ofNotice("name"),
		Example{`{"kind":"Notice","apiVersion":"kaudit/v1","name":"events_lost","count":3}`, "", "events_lost"}},
	{"ka.notice.source", "Where it happened: the file, the listening address, the path of a request as it is configured.", NoArg, "", ofNotice("source"),
		Example{`{"kind":"Notice","apiVersion":"kaudit/v1","name":"events_lost","source":"/var/log/audit.log"}`, "", "/var/log/audit.log"}},
	{"ka.notice.cluster", "The cluster it concerns, if that is known.", NoArg, "", ofNotice("cluster"),
		Example{`{"kind":"Notice","apiVersion":"kaudit/v1","name":"source_silent","cluster":"prod-eu"}`, "", "prod-eu"}},
	{"ka.notice.count", "How many there were of what the name says since the last notice of that name and source.", NoArg, "",
		Extractor{Type: Number, ofNotice: true, read: func(e *Event, _ *Argument, out *Value) {
			if n, ok := e.At(audit.Pointer{"count"}).Int(); ok && n >= 0 {
				out.AddNumber(uint64(n))
			}
		}},
		Example{`{"kind":"Notice","apiVersion":"kaudit/v1","name":"auth_failures","count":3}`, "", "3"}},
	{"ka.notice.message", "What happened and what to do about it, in a sentence.", NoArg, "", ofNotice("message"),
		Example{`{"kind":"Notice","apiVersion":"kaudit/v1","name":"spool_full","message":"senders are refused"}`, "", "senders are refused"}},
}

// ofNotice yields a member of a notice, as text.
func ofNotice(member string) Extractor {
	path := audit.Pointer{member}
	return Extractor{Type: Text, ofNotice: true, read: func(e *Event, _ *Argument, out *Value) { out.AddNode(e.At(path)) }}
}
