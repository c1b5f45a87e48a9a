package main

import (
	"embed"
	"encoding/csv"
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"
)

// data has what pages say that is in no code: which detections public catalogues have, the techniques of MITRE ATT&CK and
// of the Threat Matrix for Kubernetes, the rules of the official plugin. Facts are from there, words are ours.
//
//go:embed data
var data embed.FS

// A detection is a row of data/detections.csv: something that is seen in one audit event, or in several.
type detection struct {
	id, title  string
	remember   string   // what has to be remembered of earlier events; empty if one event is enough
	catalogues []string // letters of data/catalogues.csv; ~ is a retired rule or one of a cloud's log, ? is not confirmed
	attack     []string // techniques
}

// A catalogue is a row of data/catalogues.csv. Capital letters are rulesets, others are collections of attacks.
type catalogue struct{ letter, name, link string }

// A technique is a row of data/attack.csv, or one of data/threat_matrix.csv, which has detections and no id.
type technique struct {
	tactic, id, name string
	detections       []string
	note             string // why it has no rule, or what a rule cannot see of it
}

// An official rule is one of the official plugin.
type officialRule struct {
	Rule      string
	Priority  string
	Fate      string
	Ours      []string // rules of ours; for one that is kept, that of its name
	Why       string
	Condition string // of a rule with the old name
	List      string // that the condition asks for
	Items     []string
}

// official is data/official.yaml.
type official struct {
	Rules []officialRule
	Names []struct {
		Names        []string
		Instead, How string
	}
	Macros yaml.Node // in order
}

// table reads a file of comma-separated values, without its head.
func table(name string, columns int) ([][]string, error) {
	f, err := data.Open("data/" + name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.FieldsPerRecord = columns
	rows, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("internal/docgen/data/%s: %w", name, err)
	}
	return rows[1:], nil
}

func detections() ([]detection, error) {
	rows, err := table("detections.csv", 5)
	var list []detection
	for _, r := range rows {
		list = append(list, detection{r[0], r[1], r[2], strings.Fields(r[3]), strings.Fields(r[4])})
	}
	return list, err
}

func catalogues() ([]catalogue, error) {
	rows, err := table("catalogues.csv", 3)
	var list []catalogue
	for _, r := range rows {
		list = append(list, catalogue{r[0], r[1], r[2]})
	}
	return list, err
}

func attackTechniques() ([]technique, error) {
	rows, err := table("attack.csv", 4)
	var list []technique
	for _, r := range rows {
		list = append(list, technique{tactic: r[0], id: r[1], name: r[2], note: r[3]})
	}
	return list, err
}

func threatMatrix() ([]technique, error) {
	rows, err := table("threat_matrix.csv", 4)
	var list []technique
	for _, r := range rows {
		list = append(list, technique{tactic: r[0], name: r[1], detections: strings.Fields(r[2]), note: r[3]})
	}
	return list, err
}

func officialRules() (official, error) {
	var o official
	text, err := data.ReadFile("data/official.yaml")
	if err == nil {
		err = yaml.Unmarshal(text, &o)
	}
	for i, r := range o.Rules {
		if r.Fate == "kept" && r.Ours == nil {
			o.Rules[i].Ours = []string{r.Rule}
		}
	}
	return o, err
}
