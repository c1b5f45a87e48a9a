//go:build linux

package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// A plot has lines over two logarithmic axes.
type plot struct {
	title, subtitle, x, y string
	series                []series
}

type series struct {
	name   string
	points [][2]float64
}

func (s *series) add(x, y float64) {
	s.points = append(s.points, [2]float64{x, max(y, 0.1)})
}

// Where the axes are, in a picture of 760 by 440.
const left, right, top, bottom = 70, 540, 60, 390

var colours = []string{"#1f5fa8", "#c2571a", "#2e7d4f", "#8a2d7a", "#666666", "#a88c00"}

// svg draws the plot.
func (p *plot) svg() []byte {
	var b strings.Builder
	write := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	text := func(x, y float64, anchor, s string) {
		write(`<text x="%.0f" y="%.0f" text-anchor="%s">%s</text>`, x, y, anchor, html.EscapeString(s))
	}
	write(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 440" font-family="sans-serif" font-size="12">`)
	write(`<rect width="760" height="440" fill="white"/>`)
	write(`<text x="%d" y="22" font-size="15">%s</text>`, left, html.EscapeString(p.title))
	write(`<text x="%d" y="40" fill="#555" font-size="10">%s</text>`, left, html.EscapeString(p.subtitle))
	x, xs := axis(p.series, 0, left, right)
	y, ys := axis(p.series, 1, bottom, top)
	for _, v := range xs {
		write(`<path d="M%.0f %d V%d" stroke="#ddd"/>`, x(v), top, bottom)
		text(x(v), bottom+16, "middle", short(v))
	}
	for _, v := range ys {
		write(`<path d="M%d %.0f H%d" stroke="#ddd"/>`, left, y(v), right)
		text(left-6, y(v)+4, "end", short(v))
	}
	text((left+right)/2, bottom+36, "middle", p.x)
	text(left-6, top-8, "end", p.y)
	for i, s := range p.series {
		colour := colours[i%len(colours)]
		var path []string
		for _, at := range s.points {
			path = append(path, fmt.Sprintf("%.1f,%.1f", x(at[0]), y(at[1])))
			write(`<circle cx="%.1f" cy="%.1f" r="2.5" fill="%s"><title>%s: %s, %.1f</title></circle>`,
				x(at[0]), y(at[1]), colour, html.EscapeString(s.name), short(at[0]), at[1])
		}
		write(`<polyline points="%s" fill="none" stroke="%s" stroke-width="1.5"/>`, strings.Join(path, " "), colour)
		write(`<path d="M%d %d h18" stroke="%s" stroke-width="2"/>`, right+12, top+10+18*i, colour)
		text(right+36, float64(top+14+18*i), "start", s.name)
	}
	write(`</svg>`)
	return []byte(b.String())
}

// axis returns where a value stands between two places, and the values to mark.
func axis(all []series, coordinate, from, to int) (place func(float64) float64, marks []float64) {
	least, most := math.Inf(1), 0.0
	for _, s := range all {
		for _, p := range s.points {
			least, most = min(least, p[coordinate]), max(most, p[coordinate])
		}
	}
	low, high := math.Log10(least)-0.05, math.Log10(most)+0.05
	place = func(v float64) float64 {
		return float64(from) + (math.Log10(v)-low)/(high-low)*float64(to-from)
	}
	for decade := math.Floor(low); decade <= high; decade++ {
		for _, step := range []float64{1, 2, 5} {
			v := step * math.Pow(10, decade)
			if l := math.Log10(v); l >= low && l <= high && (step == 1 || high-low < 3) {
				marks = append(marks, v)
			}
		}
	}
	return place, marks
}

// short prints a value of an axis.
func short(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%gM", math.Round(v/1e4)/100)
	case v >= 1e3:
		return fmt.Sprintf("%gk", math.Round(v/10)/100)
	}
	return fmt.Sprintf("%g", math.Round(v*10)/10)
}
