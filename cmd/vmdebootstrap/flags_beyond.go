package main

import "github.com/vmdebootstrap/vmdebootstrap/diskimage"

// beyondManual marks an option that vmdebootstrap 1.7 did not have. Old abbreviations never mean one.
const beyondManual = "beyond-manual"

// defaultCacheLimit holds about twenty systems.
const defaultCacheLimit = 20 * diskimage.GB

// beyondManual are the settings that vmdebootstrap 1.7 did not have.
func (s *settings) beyondManual() []*setting {
	return []*setting{
		{"state-dir", groupProgram, "keep downloaded packages and the results of steps in `DIRECTORY` (default: " +
			"~/.cache/vmdebootstrap)", textValue{&s.stateDir}},
		{"cache", groupProgram, "begin with the results of an earlier build as far as they hold; --no-cache runs every step",
			boolValue{&s.cache}},
		{"explain-cache", groupProgram, "say which steps come from an earlier build and why others run",
			boolValue{&s.explainCache}},
		{"cache-limit", groupProgram, "after a build, remove what was not used for longest until the results of steps take " +
			"no more than `SIZE`", sizeValue{&s.cacheLimit}},
	}
}
