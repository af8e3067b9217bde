<?php
// Actions, named by the form.
require __DIR__ . '/../wp-load.php';

header('Content-Type: application/json');
echo json_encode(['success' => $_POST['action'] === 'regenerate_thumbnail', 'data' => (int) $_POST['id']]);
