# Stands in for an agent: does the work of one stage in a moment.
cat > /dev/null # the prompt
cd "$MILLRACE_REQUEST_DIR" || exit 1
case $MILLRACE_STAGE in
drafter) echo "What is new" > notes.md; echo "### DRAFTED" ;;
reviewer)
	if ls ../*/review.json > /dev/null 2>&1; then
		echo '{"verdict": "pass"}' > review.json; echo "### PASSED"
	else
		echo '{"verdict": "revise", "findings": ["say what for"]}' > review.json; echo "### REVISE"
	fi ;;
reviser) echo "What is new, and what for" > notes.md; echo "### REVISED" ;;
publisher) cat ../*/notes.md | tail -n 1 >> "$OLDPWD/CHANGELOG.md"; echo "### PUBLISHED" ;;
*) echo "I only know the release desk."; echo "### BLOCKED" ;;
esac
