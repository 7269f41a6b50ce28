// SPDX-License-Identifier: Apache-2.0

package step

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
)

// HookEnviron returns the environment of a hook with the given text: the caller's environment without the variables of
// the session, and with the build's own search path, home directory and language. A CI system sets some variables anew
// for each run; the hook gets those only if its text names them.
func HookEnviron(caller, build []string, text []byte) []string {
	named := map[string]bool{}
	for _, word := range bytes.FieldsFunc(text, separatesNames) {
		named[string(word)] = true
	}
	var env []string
	for _, kv := range caller {
		name := variableName(kv)
		switch {
		case slices.Contains(sessionVariables, name) || hasAnyPrefix(name, sessionPrefixes):
		case hasAnyPrefix(name, runPrefixes) && !named[name]:
		case slices.ContainsFunc(build, func(b string) bool { return variableName(b) == name }):
		default:
			env = append(env, kv)
		}
	}
	return append(env, build...)
}

// sessionVariables and variables with one of sessionPrefixes describe a terminal, a desktop or a login, which
// a container does not have.
var (
	sessionVariables = []string{
		"LANG", "LANGUAGE", "TMPDIR", "TEMP", "TMP", "MAIL", "OLDPWD", "PWD", "SSH_AUTH_SOCK", "USER", "LOGNAME",
		"SHELL", "_", "SHLVL", "COLUMNS", "LINES", "COLORTERM", "LS_COLORS", "WINDOWID", "DISPLAY",
		"WAYLAND_DISPLAY", "XAUTHORITY", "HOSTNAME", "INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID",
	}
	sessionPrefixes = []string{"XDG_", "DBUS_", "LC_", "SSH_", "SUDO_"}
)

// runPrefixes are the prefixes of variables that GitLab and GitHub set for each run.
var runPrefixes = []string{"CI_", "GITLAB_", "GITHUB_", "RUNNER_", "ACTIONS_"}

func hasAnyPrefix(text string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(text, prefix) })
}

func variableName(kv string) string {
	name, _, _ := strings.Cut(kv, "=")
	return name
}

// separatesNames reports whether r cannot be part of the name of a variable.
func separatesNames(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }

// ignoredVariables are passed to hooks but are not inputs: proxies, and credentials of one run.
var ignoredVariables = []string{
	"http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY",
	"CI_JOB_TOKEN", "GITHUB_TOKEN",
}

// inputVariables returns the variables of the caller that are inputs of a hook with this text, sorted.
func inputVariables(caller []string, text []byte) []string {
	variables := slices.DeleteFunc(HookEnviron(caller, nil, text), func(kv string) bool {
		name := variableName(kv)
		inBase := func(b string) bool { return variableName(b) == name }
		return slices.Contains(ignoredVariables, name) || slices.ContainsFunc(BaseEnv, inBase)
	})
	slices.Sort(variables)
	return variables
}
