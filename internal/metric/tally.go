package metric

// A Tally sums what is counted under the same names: by those that go on counting, and by those that have ended. Names
// keep the place they got first, and only a new one allocates.
type Tally struct {
	// Prefix stands before the names.
	Prefix string

	rows   []Sum
	places map[string]int
}

// A Sum is what was counted under one name.
type Sum struct {
	Name  string
	Gauge bool
	N     uint64
	ended uint64 // of N, by those that have ended
}

// Begin begins to sum anew: with what those have counted that have ended.
func (t *Tally) Begin() {
	for i := range t.rows {
		t.rows[i].N = t.rows[i].ended
	}
}

// Add adds what one counts that goes on.
func (t *Tally) Add(name string, n uint64) { t.row(name).N += n }

// End keeps what one has counted that ends now. What it measured ends with it.
func (t *Tally) End(name string, n uint64) {
	if row := t.row(name); !row.Gauge {
		row.ended += n
	}
}

// Sums returns all sums. They are good until the next call.
func (t *Tally) Sums() []Sum { return t.rows }

func (t *Tally) row(name string) *Sum {
	i, known := t.places[name]
	if !known {
		if t.places == nil {
			t.places = map[string]int{}
		}
		i = len(t.rows)
		t.places[name] = i
		t.rows = append(t.rows, Sum{Name: t.Prefix + name, Gauge: Find(t.Prefix + name).Gauge})
	}
	return &t.rows[i]
}
