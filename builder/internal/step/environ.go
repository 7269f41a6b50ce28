// SPDX-License-Identifier: Apache-2.0

package step

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
)

// HookEnviron is what a hook gets: the caller's environment, as it always was, without what is only about the
// caller's session, and with the build's own search path, home directory and language. text is that of the
// hook: variables of a CI system's run, which are others each time, reach only a hook that names them.
func HookEnviron(caller, build []string, text []byte) []string {
	words := map[string]bool{}
	for _, word := range bytes.FieldsFunc(text, notInName) {
		words[string(word)] = true
	}
	var env []string
	for _, kv := range caller {
		name := variableName(kv)
		switch {
		case slices.Contains(sessionVariables, name) || hasAnyPrefix(name, sessionPrefixes):
		case hasAnyPrefix(name, runPrefixes) && !words[name]:
		case slices.ContainsFunc(build, func(b string) bool { return variableName(b) == name }):
		default:
			env = append(env, kv)
		}
	}
	return append(env, build...)
}

// sessionVariables name places and settings of a terminal, a desktop or a login, which a container does not have. So do
// variables that begin with one of sessionPrefixes.
var (
	sessionVariables = []string{
		"LANG", "LANGUAGE", "TMPDIR", "TEMP", "TMP", "MAIL", "OLDPWD", "PWD", "SSH_AUTH_SOCK", "USER", "LOGNAME",
		"SHELL",
		"_", "SHLVL", "COLUMNS", "LINES", "COLORTERM", "LS_COLORS", "WINDOWID", "DISPLAY", "WAYLAND_DISPLAY",
		"XAUTHORITY",
		"HOSTNAME", "INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID",
	}
	sessionPrefixes = []string{"XDG_", "DBUS_", "LC_", "SSH_", "SUDO_"}
)

// runPrefixes begin the names of variables that GitLab and GitHub set for each run.
var runPrefixes = []string{"CI_", "GITLAB_", "GITHUB_", "RUNNER_", "ACTIONS_"}

func hasAnyPrefix(text string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(text, prefix) })
}

func variableName(kv string) string {
	name, _, _ := strings.Cut(kv, "=")
	return name
}

func notInName(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }

// uncounted are variables that hooks get and that are no inputs: the ways to the network, and credentials of one run.
var uncounted = []string{
	"http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY",
	"CI_JOB_TOKEN", "GITHUB_TOKEN",
}

// inputVariables are the variables of the caller that are inputs of a hook with this text, sorted.
func inputVariables(caller []string, text []byte) []string {
	variables := slices.DeleteFunc(HookEnviron(caller, nil, text), func(kv string) bool {
		name := variableName(kv)
		inBase := func(b string) bool { return variableName(b) == name }
		return slices.Contains(uncounted, name) || slices.ContainsFunc(BaseEnv, inBase)
	})
	slices.Sort(variables)
	return variables
}
