<?php
// A router for PHP's own server: answers what PHP finds under the watched names of the form or query that was posted.
$names = ['session_id', 'user_id'];
if ($_SERVER['HTTP_X_KIND'] === 'query') {
    parse_str(file_get_contents('php://input'), $fields);
} else {
    $fields = $_POST + array_map(fn ($file) => ['file'], $_FILES);
}
$found = [];
foreach ($names as $name) {
    if (array_key_exists($name, $fields)) {
        $value = $fields[$name];
        $found[$name] = [is_string($value) ? mb_scrub_latin($value) : 'no string'];
    }
}
header('Content-Type: application/json');
echo json_encode([(object) $found]);

// Bytes outside ASCII as question marks: JSON takes UTF-8 only, and no id contains them.
function mb_scrub_latin(string $value): string
{
    return preg_replace('/[^\x20-\x7e]/', '?', $value);
}
